"""The distillation step in plain PyTorch with the paper's layer, as a yardstick for `onebit distill`.

Teacher and student are transformers' LLaMA with fused attention; the student's block linears are replaced by the layer
of the paper (sign, two value vectors, LayerNorm); loss, AdamW and clipping are the paper's. Prints tokens per second
over the counted steps and the process's peak memory.

    pip install torch==2.11.0 transformers==5.23.0
    python distill_pytorch.py TEACHER --batch-size 8 --sequence-length 256 --steps 30 --threads 2
"""

import argparse
import resource
import time

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM


class SignFunction(torch.autograd.Function):
    @staticmethod
    def forward(context, weight):
        context.save_for_backward(weight)
        return torch.sign(weight)

    @staticmethod
    def backward(context, upstream):
        (weight,) = context.saved_tensors
        return upstream * (1.001 - torch.tanh(weight) ** 2)


class OneBitLinear(torch.nn.Module):
    """LayerNorm(((x * g) @ sign(W).T) * h), the training form of the paper's layer."""

    def __init__(self, dense, trained_layer_norm=True):
        super().__init__()
        weight = dense.weight.data
        left, value, right = torch.linalg.svd(weight.abs())
        self.weight = torch.nn.Parameter(0.01 * torch.sign(weight))
        self.weight_scale = torch.nn.Parameter(left[:, 0].abs() * value[0].sqrt())
        self.input_factor = torch.nn.Parameter(right[0].abs() * value[0].sqrt())
        self.layer_norm = trained_layer_norm

    def forward(self, x):
        y = F.linear(x * self.input_factor, SignFunction.apply(self.weight)) * self.weight_scale
        return F.layer_norm(y, y.shape[-1:]) if self.layer_norm else y


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("teacher")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--sequence-length", type=int, default=256)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-layer-norm", action="store_true", help="the default recipe's layer, without LayerNorm")
    parser.add_argument("--train-everything", action="store_true", help="as the default recipe does")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    teacher = AutoModelForCausalLM.from_pretrained(arguments.teacher, dtype=torch.float32).eval()
    student = AutoModelForCausalLM.from_pretrained(arguments.teacher, dtype=torch.float32).train()
    if not arguments.train_everything:
        for parameter in student.parameters():
            parameter.requires_grad_(False)
    for block in student.model.layers:
        for parent in (block.self_attn, block.mlp):
            for name, module in list(parent.named_children()):
                if isinstance(module, torch.nn.Linear):
                    setattr(parent, name, OneBitLinear(module, not arguments.no_layer_norm))

    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=4e-4, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.01)
    vocabulary = teacher.config.vocab_size
    shape = (arguments.batch_size, arguments.sequence_length)

    def step():
        tokens = torch.randint(0, vocabulary, shape)
        with torch.no_grad():
            target = teacher(tokens, output_hidden_states=True)
        output = student(tokens, output_hidden_states=True)
        divergence = F.kl_div(
            F.log_softmax(output.logits.float(), -1), F.softmax(target.logits.float(), -1), reduction="batchmean"
        )
        loss = 0.01 * divergence
        for t, s in zip(target.hidden_states[:-1], output.hidden_states[:-1]):
            t = t / torch.linalg.vector_norm(t, dim=-1, keepdim=True)
            s = s / torch.linalg.vector_norm(s, dim=-1, keepdim=True)
            loss = loss + ((t - s) ** 2).sum(-1).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(3):
        step()
    begin = time.perf_counter()
    for _ in range(arguments.steps):
        step()
    seconds = time.perf_counter() - begin
    tokens = arguments.steps * arguments.batch_size * arguments.sequence_length
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{tokens / seconds:.0f} tokens per second, peak memory {memory:.0f} MiB")


main()

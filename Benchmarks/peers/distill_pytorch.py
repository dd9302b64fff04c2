"""The distillation step in plain PyTorch with the paper's layer, as a yardstick for `onebit distill`.

Teacher and student are transformers' LLaMA with fused attention; the student's block linears are replaced by the layer
of the paper (sign, two value vectors, LayerNorm); loss, AdamW and clipping are the paper's. `--recipe default` is this
project's default instead: no LayerNorm, latents that start at W, the hard gradient of the sign, everything trained.
Prints tokens per second over the counted steps and the peak memory, of the process on a CPU and of the device on another
(what PyTorch's allocator held, and of it what tensors had); `--json FILE` appends them as a line.

    pip install torch==2.11.0 transformers==5.23.0
    python distill_pytorch.py TEACHER --batch-size 4 --sequence-length 512 --steps 5 --threads 2
    python distill_pytorch.py TEACHER --recipe default --device cuda --bfloat16 --batch-size 8 --sequence-length 1024
"""

import argparse
import json
import resource
import time

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM


class TanhSign(torch.autograd.Function):
    @staticmethod
    def forward(context, weight):
        context.save_for_backward(weight)
        return torch.sign(weight)

    @staticmethod
    def backward(context, upstream):
        (weight,) = context.saved_tensors
        return upstream * (1.001 - torch.tanh(weight) ** 2)


class HardSign(torch.autograd.Function):
    @staticmethod
    def forward(context, weight):
        context.save_for_backward(weight)
        return torch.where(weight < 0, -1.0, 1.0)

    @staticmethod
    def backward(context, upstream):
        (weight,) = context.saved_tensors
        return upstream * (weight.abs() < 1)


class OneBitLinear(torch.nn.Module):
    """LayerNorm(((x * g) @ sign(W).T) * h), the training form of the paper's layer."""

    def __init__(self, dense, recipe):
        super().__init__()
        weight = dense.weight.data
        left, value, right = torch.svd_lowrank(weight.abs(), q=2)
        self.weight = torch.nn.Parameter(0.01 * torch.sign(weight) if recipe == "paper" else weight.clone())
        self.weight_scale = torch.nn.Parameter(left[:, 0].abs() * value[0].sqrt())
        self.input_factor = torch.nn.Parameter(right[:, 0].abs() * value[0].sqrt())
        self.sign = TanhSign if recipe == "paper" else HardSign
        self.has_layer_norm = recipe == "paper"

    def forward(self, x):
        y = F.linear(x * self.input_factor, self.sign.apply(self.weight)) * self.weight_scale
        return F.layer_norm(y, y.shape[-1:]) if self.has_layer_norm else y


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("teacher")
    parser.add_argument("--recipe", choices=["paper", "default"], default="paper")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--micro-batch-size", type=int, help="sequences of one pass; the whole batch unless given")
    parser.add_argument("--sequence-length", type=int, default=256)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warm-up", type=int, default=3, help="steps before the counted ones")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bfloat16", action="store_true", help="autocast to bfloat16, with a teacher of that type")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="compute the student's blocks again")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--json", help="file to append the result to")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    device = torch.device(arguments.device)
    teacher_type = torch.bfloat16 if arguments.bfloat16 else torch.float32
    teacher = AutoModelForCausalLM.from_pretrained(arguments.teacher, dtype=teacher_type).eval().to(device)
    student = AutoModelForCausalLM.from_pretrained(arguments.teacher, dtype=torch.float32).train().to(device)
    if arguments.gradient_checkpointing:
        student.gradient_checkpointing_enable({"use_reentrant": False})
    if arguments.recipe == "paper":
        for parameter in student.parameters():
            parameter.requires_grad_(False)
    for block in student.model.layers:
        for parent in (block.self_attn, block.mlp):
            for name, module in list(parent.named_children()):
                if isinstance(module, torch.nn.Linear):
                    setattr(parent, name, OneBitLinear(module, arguments.recipe))

    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    rate = 4e-4 if arguments.recipe == "paper" else 6e-3
    optimizer = torch.optim.AdamW(
        trained, lr=rate, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.01, fused=device.type == "cuda"
    )
    vocabulary = teacher.config.vocab_size
    micro_batch = arguments.micro_batch_size or arguments.batch_size

    def step():
        batch = torch.randint(0, vocabulary, (arguments.batch_size, arguments.sequence_length)).to(device)
        for tokens in batch.split(micro_batch):
            with torch.autocast(device.type, torch.bfloat16, enabled=arguments.bfloat16):
                with torch.no_grad():
                    target = teacher(tokens, output_hidden_states=True)
                output = student(tokens, output_hidden_states=True)
            divergence = F.kl_div(
                F.log_softmax(output.logits.float(), -1), F.softmax(target.logits.float(), -1), reduction="batchmean"
            )
            loss = 0.01 * divergence
            for t, s in zip(target.hidden_states[:-1], output.hidden_states[:-1]):
                t, s = t.float(), s.float()
                t = t / torch.linalg.vector_norm(t, dim=-1, keepdim=True)
                s = s / torch.linalg.vector_norm(s, dim=-1, keepdim=True)
                loss = loss + ((t - s) ** 2).sum(-1).mean()
            (loss * len(tokens) / len(batch)).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def synchronize():
        if device.type == "cuda":
            torch.cuda.synchronize()

    for _ in range(arguments.warm_up):
        step()
    synchronize()
    begin, begin_processor = time.perf_counter(), time.process_time()
    for _ in range(arguments.steps):
        step()
    synchronize()
    seconds, processor = time.perf_counter() - begin, time.process_time() - begin_processor
    tokens = arguments.steps * arguments.batch_size * arguments.sequence_length
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    in_tensors = memory
    if device.type == "cuda":
        memory, in_tensors = torch.cuda.max_memory_reserved() / 2**20, torch.cuda.max_memory_allocated() / 2**20
    print(
        f"{tokens / seconds:.0f} tokens per second, {tokens / processor:.0f} per second of processor time, "
        f"peak memory {memory:.0f} MiB" + (f", {in_tensors:.0f} of it in tensors" if device.type == "cuda" else "")
    )
    if arguments.json:
        result = dict(
            vars(arguments), tokens_per_second=tokens / seconds, tokens_per_processor_second=tokens / processor,
            peak_mib=memory, peak_mib_in_tensors=in_tensors)
        with open(arguments.json, "a") as file:
            file.write(json.dumps(result) + "\n")


main()

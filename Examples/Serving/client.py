from openai import OpenAI  # pip install openai

client = OpenAI(base_url="http://127.0.0.1:8080/v1", api_key="none")
answer = client.chat.completions.create(
    model="onebit",
    messages=[{"role": "user", "content": "Name three colors."}],
    max_tokens=100, temperature=0.7, seed=1, stream=True,
)  # fmt: skip
for chunk in answer:
    print(chunk.choices[0].delta.content or "", end="", flush=True)

"""Writes lora_inputs.safetensors and prints the token ids: the inputs of torchtune's LoRA tests, drawn by PyTorch's seeded generator."""
import torch
from safetensors.torch import save_file

torch.manual_seed(16)
x = torch.randn(2, 32, 64)
save_file({"inputs": x}, "lora_inputs.safetensors")

torch.manual_seed(16)
print("ids", torch.randint(low=0, high=50, size=(2, 32)).flatten().tolist())


def fixed(*shape):  # from 0 in equal steps up to, not including, 1
    n = torch.Size(shape).numel()
    return (torch.arange(n) / n).reshape(shape)


weight, bias, a, b = fixed(128, 64), fixed(128), fixed(4, 64), fixed(128, 4)
y = x @ weight.T + bias + (1.0 / 4) * (x @ a.T) @ b.T
print("mean", y.mean().item(), "torchtune expects 1.1252")

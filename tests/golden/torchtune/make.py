"""Writes lora_inputs.safetensors: the input of torchtune's `TestLoRALinear.test_forward`, drawn by PyTorch's seeded generator."""
import torch
from safetensors.torch import save_file

torch.manual_seed(16)
x = torch.randn(2, 32, 64)
save_file({"inputs": x}, "lora_inputs.safetensors")


def fixed(*shape):  # from 0 in equal steps up to, not including, 1
    n = torch.Size(shape).numel()
    return (torch.arange(n) / n).reshape(shape)


weight, bias, a, b = fixed(128, 64), fixed(128), fixed(4, 64), fixed(128, 4)
y = x @ weight.T + bias + (1.0 / 4) * (x @ a.T) @ b.T
print("mean", y.mean().item(), "torchtune expects 1.1252")

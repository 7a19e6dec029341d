"""Every slice of /input through the network of model.py, one at a time, on the device that the harness names.

The same file stands in dncnn, redcnn, unet and flow.
"""

import json
import os
from pathlib import Path

import numpy as np
import torch
from model import Network
from PIL import Image
from safetensors import safe_open

SOURCE, TARGET = Path(os.environ["HARNESS_INPUT"]), Path(os.environ["HARNESS_OUTPUT"])
DEVICE = torch.device(os.environ["HARNESS_DEVICE"])


def load(path):
    """The trained network; its size stands in the file's metadata."""
    with safe_open(path, framework="pt") as file:
        network = Network(**json.loads(file.metadata()["network"]))
        network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (no mapping)
    return network.eval().to(DEVICE)


if __name__ == "__main__":
    torch.manual_seed(int(os.environ["HARNESS_SEED"]))
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it CUDA's products are not deterministic
    torch.use_deterministic_algorithms(True)
    network = load(Path(__file__).with_name("weights.safetensors"))
    for case in json.loads((SOURCE / "manifest.json").read_text())["cases"]:
        noisy = torch.from_numpy(np.asarray(Image.open(SOURCE / case["file"]), dtype=np.float32) / 255)
        with torch.inference_mode():
            clean = network.denoise(noisy[None, None].to(DEVICE))[0, 0].cpu().numpy()
        Image.fromarray(np.uint8(np.clip(clean * 255, 0, 255).round())).save(TARGET / case["file"])

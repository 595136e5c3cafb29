"""`flambeau run`: unchanged PyTorch scripts."""

from __future__ import annotations

import subprocess
import textwrap

from tests.cli.conftest import command, environment


def script(folder, text, name="script.py"):
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return path


def test_a_script_gets_flambeau_for_torch_and_its_own_arguments(run, tmp_path):
    script(tmp_path, "helper = 'beside the script'\n", "beside.py")
    (tmp_path / "elsewhere").mkdir()
    script(
        tmp_path,
        """
        import argparse, sys
        import torch, torchvision
        import torch.nn as nn
        import torch.nn.functional as F
        import torchvision.transforms as transforms
        from torch.autograd import Variable
        from torch.utils.data import DataLoader
        from beside import helper

        parser = argparse.ArgumentParser()
        parser.add_argument("--help-me", action="store_true")
        parser.add_argument("rest", nargs="*")
        args = parser.parse_args()
        print(__name__, sys.argv[0].endswith("script.py"), args.help_me, args.rest, helper)
        torch.manual_seed(0)
        print(torch.randn(3))
        x = Variable(torch.ones(2), requires_grad=True)
        (x * 3).sum().backward()
        print(x.grad)
        """,
    )
    output = run.ok("run", "script.py", "--help-me", "a", "--", "-b")
    assert output.splitlines() == [
        "__main__ True True ['a', '-b'] beside the script",
        "tensor([ 1.5410, -0.2934, -2.1788])",
        "tensor([3., 3.])",
    ]


def test_a_module(run, tmp_path):
    (tmp_path / "package").mkdir()
    script(tmp_path / "package", "import sys, torch\nprint(torch.arange(2), sys.argv[1:])\n", "__main__.py")
    assert run.ok("run", "-m", "package", "x") == "tensor([0, 1]) ['x']\n"


def test_exit_status_and_exceptions_are_the_scripts(run, tmp_path):
    script(tmp_path, "import sys\nsys.exit(7)\n")
    assert run("run", "script.py").returncode == 7
    script(tmp_path, "import torch\n\ndef inner():\n    torch.ones(2) @ torch.ones(3)\n\ninner()\n")
    done = run("run", "script.py")
    assert done.returncode == 1 and "RuntimeError" in done.stderr.splitlines()[-1]
    assert "line 4, in inner" in done.stderr and "runpy" not in done.stderr


def test_a_missing_name_is_named(run, tmp_path):
    script(tmp_path, "import torch\ntorch.no_such_function(1)\n")
    done = run("run", "script.py")
    assert done.returncode == 1 and "no_such_function" in done.stderr.splitlines()[-1]


def test_bad_invocations(run):
    assert "there is no script absent.py" in run.fails("run", "absent.py")
    assert run("run").returncode == 2 and "usage: flambeau run" in run("run").stderr
    assert "usage: flambeau run" in run.ok("run", "--help")
    assert "needs the name of a module" in run.fails("run", "-m")


def test_scripts_may_use_loader_workers(tmp_path):
    path = script(
        tmp_path,
        """
        import sys
        import torch
        from torch.utils.data import DataLoader, Dataset

        class Squares(Dataset):
            def __len__(self):
                return 6
            def __getitem__(self, i):
                return torch.tensor(i * i)

        if __name__ == "__main__":
            for context in ("fork", "spawn"):
                loader = DataLoader(Squares(), batch_size=3, num_workers=2, multiprocessing_context=context)
                print([b.tolist() for b in loader])
        """,
    )
    done = subprocess.run(
        command("run", path), cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[[0, 1, 4], [9, 16, 25]]"] * 2

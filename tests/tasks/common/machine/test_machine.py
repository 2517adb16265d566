"""Every decision about the machine, with the hardware pretended."""

import mmap

import pytest
import torch

from tasks.common.machine.machine import accelerator, describe
from tasks.common.machine.memory import free_memory, own_memory
from tasks.common.machine.precision import autocast, precision
from tasks.common.machine.threads import prepare_cpu
from tasks.common.options.decision import Decision


@pytest.fixture
def pretend(monkeypatch):
    """Say which hardware torch reports."""

    def report(*, cuda=False, gpu_bf16=False, cpu_bf16=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Pretended GPU")
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: gpu_bf16)
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: cpu_bf16)

    return report


@pytest.fixture
def restore_cpu():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.mark.parametrize(
    ("wanted", "cuda", "expected"),
    [
        ("auto", True, Decision("cuda", "Pretended GPU")),
        ("cuda", True, Decision("cuda", "Pretended GPU")),
        ("cpu", True, Decision("cpu", "as configured")),
        ("auto", False, Decision("cpu", "no CUDA device")),
        ("cpu", False, Decision("cpu", "as configured")),
    ],
)
def test_the_gpu_is_taken_where_there_is_one(pretend, wanted, cuda, expected):
    pretend(cuda=cuda)
    assert accelerator(wanted) == expected


@pytest.mark.parametrize(
    ("wanted", "device", "hardware", "value", "reason"),
    [
        ("auto", "cuda", {"gpu_bf16": True}, "bf16-mixed", "the GPU has bf16"),
        ("auto", "cuda", {"cpu_bf16": True}, "16-mixed", "no bf16; gradients are scaled"),
        ("auto", "cpu", {"cpu_bf16": True}, "bf16-mixed", "the CPU has bf16"),
        ("auto", "cpu", {"gpu_bf16": True}, "32-true", "the CPU has no bf16"),
        ("32", "cuda", {}, "32-true", "as configured"),
        ("bf16", "cuda", {}, "bf16-mixed", "as configured"),
        ("fp16", "cuda", {}, "16-mixed", "as configured"),
    ],
)
def test_precision_follows_from_the_hardware(pretend, wanted, device, hardware, value, reason):
    pretend(**hardware)
    decision = precision(wanted, device=device)
    assert decision.value == value
    assert reason in decision.reason


@pytest.mark.usefixtures("restore_cpu")
def test_denormals_are_zero_afterwards():
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU cannot flush denormals")
    torch.set_flush_denormal(False)
    tiny = torch.full((64,), 1e-30)
    assert (tiny * 1e-10 > 0).all()  # 1e-40 is a denormal number
    assert "denormals are zero" in prepare_cpu(1).reason
    assert (tiny * 1e-10 == 0).all()


@pytest.mark.usefixtures("restore_cpu")
@pytest.mark.parametrize(
    ("given", "variable", "expected"),
    [
        (3, "1", 3),
        (0, "2", 2),
        (0, "2,1", 2),  # OpenMP's form for nested levels
        (0, "", 5),
        (0, None, 5),
    ],
)
def test_threads_are_as_given_or_openmps_or_the_cores(monkeypatch, given, variable, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(5)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    decision = prepare_cpu(given)
    assert torch.get_num_threads() == expected
    assert decision.value == f"{expected} threads"
    assert decision.reason.startswith("5 cores; ")


@pytest.mark.parametrize(("cuda", "gpu"), [(True, "Pretended GPU"), (False, "none")])
def test_the_description_names_the_gpu(pretend, cuda, gpu):
    pretend(cuda=cuda)
    assert describe()["gpu"] == gpu
    assert {"machine", "processor", "cores"} < set(describe())


@pytest.mark.parametrize(("wanted", "dtype"), [("32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_trained_network_computes_in_the_precision_that_was_asked_for(wanted, dtype):
    layer = torch.nn.Linear(2, 2)
    with autocast(wanted, device="cpu"):
        assert layer(torch.zeros(1, 2)).dtype == dtype


@pytest.mark.parametrize(
    ("most", "used", "stat", "expected"),
    [
        (None, None, None, 3000),
        ("max", "5", "", 3000),
        ("2048000", "1024000", "anon 1024000\n", 1000),
        ("2048000", "1024000", "file 9\ninactive_file 512000\nactive_file 9\n", 1500),
        ("9", "10", "inactive_file 0\n", 0),
    ],
)
def test_a_container_may_have_less_free_memory(tmp_path, most, used, stat, expected):
    """All but what it uses; its cache of files counts as free."""
    assert free_memory(tmp_path) is None  # as where it is not Linux
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:   3000 kB\n")
    if most is not None:
        group = tmp_path / "sys" / "fs" / "cgroup"
        group.mkdir(parents=True)
        for name, text in (("max", f"{most}\n"), ("current", f"{used}\n"), ("stat", stat)):
            (group / f"memory.{name}").write_text(text)
    assert free_memory(tmp_path) == expected * 1024


def test_own_memory_follows_an_allocation():
    before, _ = own_memory()
    with mmap.mmap(-1, 100_000_000) as block:  # an allocator might reuse what it kept
        for _ in range(100):
            block.write(b"x" * 1_000_000)
        during, _ = own_memory()
    after, most = own_memory()
    assert 90e6 < during - before < 130e6
    assert most > during - 5e6  # the kernel counts the peak less exactly
    assert after < during


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (lambda: accelerator("cuda"), "trainer.accelerator is cuda, but torch sees no CUDA device"),
        (lambda: accelerator("cdua"), "unknown trainer.accelerator 'cdua'; did you mean 'cuda'"),
        (lambda: accelerator("gpu", option="--device"), "unknown --device 'gpu'"),
        (lambda: precision("bf61", device="cpu"), "trainer.precision 'bf61'; did you mean 'bf16'"),
        (lambda: precision("b16", device="cpu", option="--precision"), "unknown --precision 'b16'"),
        (
            lambda: autocast("fp16", device="cpu", option="--precision"),
            "--precision is fp16, which needs a CUDA device; on a CPU take bf16 or 32",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_the_name_of_the_option(pretend, choose, message):
    pretend()
    with pytest.raises(ValueError, match=message):
        choose()

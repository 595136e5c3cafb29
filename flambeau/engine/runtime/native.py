"""The runtime's own native code, as LLVM IR text: running a table of launches, and sharing a launch among threads.

Threads meet in a block of memory (the pool's state; its layout is `STATE`). `epoch` is odd while a launch is open for
joining. A worker enters by counting itself into `running` and then looking at `epoch` again; the caller closes the
launch and waits until `running` is 0, so a worker that comes late finds it closed and leaves, and nobody waits for a
worker that sleeps. Each thread takes chunks of its own share of the tasks first (the same share in every launch, so
that its caches stay warm) and then helps the others.

A launch in a table is [function, tasks, grain, words, then a pair (slot, value) for each word]. A word is `value`, plus
the address in `buffers[slot]` if slot >= 0. Grain 0 stays on the caller; otherwise it is the least number of tasks that
is worth handing over. A bundle of launches is one of the function `bundle`, whose words are [function, launches, words
of each, then for each: its first task among all of them, how many it has, and its argument block].
"""

from __future__ import annotations

import functools
import platform
import sys
from types import SimpleNamespace

from flambeau.engine.runtime import jit

LINE = 128  # bytes that one thread can write without slowing another's reading
STATE = {  # field of the pool's state -> byte offset
    "epoch": 0, "sleepers": 4, "hot": 8, "stop": 12,  # i32: what workers watch
    "owner": 1 * LINE,  # i32: 1 while a program uses the pool
    "running": 2 * LINE, "waiting": 2 * LINE + 4,  # i32: workers inside the open launch; whether the caller sleeps
    "function": 3 * LINE, "args": 3 * LINE + 8, "tasks": 3 * LINE + 16, "chunk": 3 * LINE + 24,  # the open launch
    "threads": 3 * LINE + 32, "spin": 3 * LINE + 40, "spin_hot": 3 * LINE + 48,  # i64: constants
    "wait": 3 * LINE + 56, "wake": 3 * LINE + 64, "yield": 3 * LINE + 72,  # the system's functions, or null
    "next": 4 * LINE,  # i64, a line for each thread: the first task of its share that is not taken
}  # fmt: skip

# How a system lets a thread sleep until another wakes it at an address: two calls, as LLVM IR.
_SLEEP = {
    "linux": (
        "call i64 (i64, ...) %wait(i64 {futex}, ptr %at, i32 128, i32 %seen, ptr null, ptr null, i32 0)",
        "call i64 (i64, ...) %wake(i64 {futex}, ptr %at, i32 129, i32 2147483647, ptr null, ptr null, i32 0)",
    ),
    "darwin": (
        "call i32 %wait(i32 1, ptr %at, i64 %seen64, i32 0)",
        "call i32 %wake(i32 257, ptr %at, i64 0)",
    ),
    "win32": (
        "call i32 %wait(ptr %at, ptr %copy, i64 4, i32 -1)",
        "call void %wake(ptr %at)",
    ),
}
FUTEX = {"x86_64": 202, "aarch64": 98}
_PAUSE = {
    "x86_64": ("call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()"),
    "aarch64": ("call void @llvm.aarch64.hint(i32 1)", "declare void @llvm.aarch64.hint(i32)"),
}

_SLEEPING = """
define internal void @sleep_at(ptr %state, ptr %at, i32 %seen) {
  %copy = alloca i32
  %field = getelementptr i8, ptr %state, i64 {wait}
  %wait = load ptr, ptr %field
  %known = icmp ne ptr %wait, null
  br i1 %known, label %sleep, label %done
sleep:
  store i32 %seen, ptr %copy
  %seen64 = zext i32 %seen to i64
  %slept = {sleep}
  br label %done
done:
  ret void
}

define internal void @wake_at(ptr %state, ptr %at) {
  %field = getelementptr i8, ptr %state, i64 {wake}
  %wake = load ptr, ptr %field
  %known = icmp ne ptr %wake, null
  br i1 %known, label %call, label %done
call:
  {woken}
  br label %done
done:
  ret void
}

; Moves the epoch on, and wakes the workers that sleep.
define void @flambeau_advance(ptr %state, i32 %by) {
  %old = atomicrmw add ptr %state, i32 %by seq_cst
  %field = getelementptr i8, ptr %state, i64 {sleepers}
  %sleepers = load atomic i32, ptr %field seq_cst, align 4
  %any = icmp ne i32 %sleepers, 0
  br i1 %any, label %wake, label %done
wake:
  call void @wake_at(ptr %state, ptr %state)
  br label %done
done:
  ret void
}

define void @flambeau_pause(i64 %times) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  {pause}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %times
  br i1 %more, label %loop, label %done
done:
  ret void
}
"""

_SHARING = """
; One turn of waiting. Now and then another thread may have the processor: it may be the one that is waited for.
define internal void @turn(ptr %state, i64 %nr) {
  {pause}
  %part = and i64 %nr, 31
  %due = icmp eq i64 %part, 31
  br i1 %due, label %ask, label %done
ask:
  %field = getelementptr i8, ptr %state, i64 {yield}
  %yield = load ptr, ptr %field
  %known = icmp ne ptr %yield, null
  br i1 %known, label %call, label %done
call:
  %ignored = call i32 %yield()
  br label %done
done:
  ret void
}

; The first task of thread %nr's share.
define internal i64 @share(i64 %tasks, i64 %threads, i64 %nr) {
  %product = mul i64 %tasks, %nr
  %first = udiv i64 %product, %threads
  ret i64 %first
}

; Runs chunks of the open launch: first those of thread %me, then those of the others.
define internal void @work(ptr %state, i64 %me) {
entry:
  %f0 = getelementptr i8, ptr %state, i64 {function}
  %function = load ptr, ptr %f0
  %f1 = getelementptr i8, ptr %state, i64 {args}
  %args = load ptr, ptr %f1
  %f2 = getelementptr i8, ptr %state, i64 {tasks}
  %tasks = load i64, ptr %f2
  %f3 = getelementptr i8, ptr %state, i64 {chunk}
  %chunk = load i64, ptr %f3
  %f4 = getelementptr i8, ptr %state, i64 {threads}
  %threads = load i64, ptr %f4
  br label %each
each:
  %v = phi i64 [ 0, %entry ], [ %v1, %following ]
  %sum = add i64 %me, %v
  %q = urem i64 %sum, %threads
  %q1 = add i64 %q, 1
  %stop = call i64 @share(i64 %tasks, i64 %threads, i64 %q1)
  %line = mul i64 %q, {line}
  %offset = add i64 %line, {next}
  %counter = getelementptr i8, ptr %state, i64 %offset
  br label %take
take:
  %begin = atomicrmw add ptr %counter, i64 %chunk seq_cst
  %some = icmp slt i64 %begin, %stop
  br i1 %some, label %run, label %following
run:
  %far = add i64 %begin, %chunk
  %end = call i64 @llvm.smin.i64(i64 %far, i64 %stop)
  call void %function(ptr %args, i64 %begin, i64 %end)
  br label %take
following:
  %v1 = add i64 %v, 1
  %more = icmp ult i64 %v1, %threads
  br i1 %more, label %each, label %done
done:
  ret void
}

; The caller's side of a launch that is shared.
define internal void @shared(ptr %state, ptr %function, ptr %args, i64 %tasks, i64 %chunk) {
entry:
  %f0 = getelementptr i8, ptr %state, i64 {function}
  store ptr %function, ptr %f0
  %f1 = getelementptr i8, ptr %state, i64 {args}
  store ptr %args, ptr %f1
  %f2 = getelementptr i8, ptr %state, i64 {tasks}
  store i64 %tasks, ptr %f2
  %f3 = getelementptr i8, ptr %state, i64 {chunk}
  store i64 %chunk, ptr %f3
  %f4 = getelementptr i8, ptr %state, i64 {threads}
  %threads = load i64, ptr %f4
  %running_at = getelementptr i8, ptr %state, i64 {running}
  %waiting_at = getelementptr i8, ptr %state, i64 {waiting}
  %f5 = getelementptr i8, ptr %state, i64 {spin}
  %spin = load i64, ptr %f5
  br label %deal
deal:
  %q = phi i64 [ 0, %entry ], [ %q1, %deal ]
  %line = mul i64 %q, {line}
  %offset = add i64 %line, {next}
  %counter = getelementptr i8, ptr %state, i64 %offset
  %first = call i64 @share(i64 %tasks, i64 %threads, i64 %q)
  store atomic i64 %first, ptr %counter monotonic, align 8
  %q1 = add i64 %q, 1
  %more = icmp ult i64 %q1, %threads
  br i1 %more, label %deal, label %open
open:
  call void @flambeau_advance(ptr %state, i32 1)
  call void @work(ptr %state, i64 0)
  %closed = atomicrmw add ptr %state, i32 1 seq_cst
  br label %check
check:
  %spins = phi i64 [ 0, %open ], [ %spins1, %pause ], [ 0, %sleep ], [ 0, %lie ]
  %left = load atomic i32, ptr %running_at seq_cst, align 4
  %busy = icmp ne i32 %left, 0
  br i1 %busy, label %wait, label %done
wait:
  %short = icmp ult i64 %spins, %spin
  br i1 %short, label %pause, label %sleep
pause:
  call void @turn(ptr %state, i64 %spins)
  %spins1 = add i64 %spins, 1
  br label %check
sleep:
  store atomic i32 1, ptr %waiting_at seq_cst, align 4
  %seen = load atomic i32, ptr %running_at seq_cst, align 4
  %still = icmp ne i32 %seen, 0
  br i1 %still, label %lie, label %check
lie:
  call void @sleep_at(ptr %state, ptr %running_at, i32 %seen)
  br label %check
done:
  store atomic i32 0, ptr %waiting_at monotonic, align 4
  ret void
}

; A worker's life. Returns 0 when the pool stops, 1 when it has nothing to do and this system cannot let it sleep.
define i64 @flambeau_worker(ptr %state, i64 %me) {
entry:
  %sleepers_at = getelementptr i8, ptr %state, i64 {sleepers}
  %hot_at = getelementptr i8, ptr %state, i64 {hot}
  %stop_at = getelementptr i8, ptr %state, i64 {stop}
  %running_at = getelementptr i8, ptr %state, i64 {running}
  %waiting_at = getelementptr i8, ptr %state, i64 {waiting}
  %f0 = getelementptr i8, ptr %state, i64 {spin}
  %spin = load i64, ptr %f0
  %f1 = getelementptr i8, ptr %state, i64 {spin_hot}
  %spin_hot = load i64, ptr %f1
  %f2 = getelementptr i8, ptr %state, i64 {wait}
  %system = load ptr, ptr %f2
  %can_sleep = icmp ne ptr %system, null
  br label %watch
watch:
  %spins = phi i64 [ 0, %entry ], [ 0, %again ], [ %spins1, %pause ], [ 0, %sleep ]
  %done = phi i32 [ 0, %entry ], [ %joined, %again ], [ %done, %pause ], [ %done, %sleep ]
  %epoch = load atomic i32, ptr %state seq_cst, align 4
  %odd = and i32 %epoch, 1
  %open = icmp ne i32 %odd, 0
  %new = icmp ne i32 %epoch, %done
  %join_it = and i1 %open, %new
  br i1 %join_it, label %join, label %idle
join:
  %before = atomicrmw add ptr %running_at, i32 1 seq_cst
  %joined = load atomic i32, ptr %state seq_cst, align 4
  %odd2 = and i32 %joined, 1
  %open2 = icmp ne i32 %odd2, 0
  br i1 %open2, label %work, label %leave
work:
  call void @work(ptr %state, i64 %me)
  br label %leave
leave:
  %after = atomicrmw sub ptr %running_at, i32 1 seq_cst
  %waiting = load atomic i32, ptr %waiting_at seq_cst, align 4
  %asleep = icmp ne i32 %waiting, 0
  br i1 %asleep, label %wake, label %again
wake:
  call void @wake_at(ptr %state, ptr %running_at)
  br label %again
again:
  br label %watch
idle:
  %stop = load atomic i32, ptr %stop_at seq_cst, align 4
  %stopped = icmp ne i32 %stop, 0
  br i1 %stopped, label %end, label %spin_or_sleep
spin_or_sleep:
  %hot = load atomic i32, ptr %hot_at monotonic, align 4
  %is_hot = icmp ne i32 %hot, 0
  %limit = select i1 %is_hot, i64 %spin_hot, i64 %spin
  %short = icmp ult i64 %spins, %limit
  br i1 %short, label %pause, label %tired
pause:
  call void @turn(ptr %state, i64 %spins)
  %spins1 = add i64 %spins, 1
  br label %watch
tired:
  br i1 %can_sleep, label %sleep, label %end
sleep:
  %s0 = atomicrmw add ptr %sleepers_at, i32 1 seq_cst
  call void @sleep_at(ptr %state, ptr %state, i32 %epoch)
  %s1 = atomicrmw sub ptr %sleepers_at, i32 1 seq_cst
  br label %watch
end:
  %result = phi i64 [ 0, %idle ], [ 1, %tired ]
  ret i64 %result
}
"""

_RUNNING = """
; Runs tasks of a bundle: of each of its launches those that are among them.
define void @flambeau_bundle(ptr %args, i64 %begin, i64 %end) {
entry:
  %function = load ptr, ptr %args
  %a1 = getelementptr i64, ptr %args, i64 1
  %count = load i64, ptr %a1
  %a2 = getelementptr i64, ptr %args, i64 2
  %words = load i64, ptr %a2
  %a3 = getelementptr i64, ptr %args, i64 3
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %i1, %following ]
  %at = phi ptr [ %a3, %entry ], [ %next, %following ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %body, label %done
body:
  %first = load i64, ptr %at
  %t1 = getelementptr i64, ptr %at, i64 1
  %tasks = load i64, ptr %t1
  %t2 = getelementptr i64, ptr %at, i64 2
  %b0 = sub i64 %begin, %first
  %b = call i64 @llvm.smax.i64(i64 %b0, i64 0)
  %e0 = sub i64 %end, %first
  %e = call i64 @llvm.smin.i64(i64 %e0, i64 %tasks)
  %some = icmp slt i64 %b, %e
  br i1 %some, label %run, label %following
run:
  call void %function(ptr %t2, i64 %b, i64 %e)
  br label %following
following:
  %i1 = add i64 %i, 1
  %next = getelementptr i64, ptr %t2, i64 %words
  br label %head
done:
  ret void
}

; Runs one launch of a table, alone or shared; returns where the next one is.
define internal ptr @launch(ptr %state, ptr %launch, ptr %buffers, i1 %shares) noinline {
entry:
  %function = load ptr, ptr %launch
  %a1 = getelementptr i64, ptr %launch, i64 1
  %tasks = load i64, ptr %a1
  %a2 = getelementptr i64, ptr %launch, i64 2
  %grain = load i64, ptr %a2
  %a3 = getelementptr i64, ptr %launch, i64 3
  %words = load i64, ptr %a3
  %pairs = getelementptr i64, ptr %launch, i64 4
  %block = alloca i64, i64 %words, align 16
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %i1, %store ]
  %more = icmp slt i64 %i, %words
  br i1 %more, label %word, label %call
word:
  %p0 = mul i64 %i, 2
  %slot_at = getelementptr i64, ptr %pairs, i64 %p0
  %slot = load i64, ptr %slot_at
  %value_at = getelementptr i64, ptr %slot_at, i64 1
  %value = load i64, ptr %value_at
  %plain = icmp slt i64 %slot, 0
  br i1 %plain, label %store, label %address
address:
  %buffer_at = getelementptr i64, ptr %buffers, i64 %slot
  %buffer = load i64, ptr %buffer_at
  %sum = add i64 %buffer, %value
  br label %store
store:
  %result = phi i64 [ %value, %word ], [ %sum, %address ]
  %to = getelementptr i64, ptr %block, i64 %i
  store i64 %result, ptr %to
  %i1 = add i64 %i, 1
  br label %head
call:
  %size = mul i64 %words, 2
  %following = getelementptr i64, ptr %pairs, i64 %size
  %worth = icmp ne i64 %grain, 0
  %share = and i1 %worth, %shares
  br i1 %share, label %chunk, label %alone
chunk:
  %f0 = getelementptr i8, ptr %state, i64 {threads}
  %threads = load i64, ptr %f0
  %parts = mul i64 %threads, 4
  %even = udiv i64 %tasks, %parts
  %size_of_chunk = call i64 @llvm.smax.i64(i64 %even, i64 %grain)
  %several = icmp slt i64 %size_of_chunk, %tasks
  br i1 %several, label %together, label %alone
together:
  call void @shared(ptr %state, ptr %function, ptr %block, i64 %tasks, i64 %size_of_chunk)
  ret ptr %following
alone:
  call void %function(ptr %block, i64 0, i64 %tasks)
  ret ptr %following
}

; Runs %count launches. Without a state, or while another thread's program uses the pool, all on the caller.
define void @flambeau_run(ptr %state, ptr %table, i64 %count, ptr %buffers) {
entry:
  %pooled = icmp ne ptr %state, null
  br i1 %pooled, label %claim, label %start
claim:
  %owner_at = getelementptr i8, ptr %state, i64 {owner}
  %exchange = cmpxchg ptr %owner_at, i32 0, i32 1 seq_cst seq_cst
  %mine = extractvalue { i32, i1 } %exchange, 1
  br i1 %mine, label %rouse, label %start
rouse:
  %hot_at = getelementptr i8, ptr %state, i64 {hot}
  store atomic i32 1, ptr %hot_at monotonic, align 4
  call void @flambeau_advance(ptr %state, i32 2)
  br label %start
start:
  %shares = phi i1 [ false, %entry ], [ false, %claim ], [ true, %rouse ]
  br label %head
head:
  %i = phi i64 [ 0, %start ], [ %i1, %body ]
  %at = phi ptr [ %table, %start ], [ %next, %body ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %body, label %finish
body:
  %next = call ptr @launch(ptr %state, ptr %at, ptr %buffers, i1 %shares)
  %i1 = add i64 %i, 1
  br label %head
finish:
  br i1 %shares, label %release, label %done
release:
  %hot_at2 = getelementptr i8, ptr %state, i64 {hot}
  store atomic i32 0, ptr %hot_at2 monotonic, align 4
  %owner_at2 = getelementptr i8, ptr %state, i64 {owner}
  store atomic i32 0, ptr %owner_at2 seq_cst, align 4
  br label %done
done:
  ret void
}
"""


def ir() -> str:
    """The module of native functions for this machine and system."""
    machine = {"AMD64": "x86_64", "arm64": "aarch64", "ARM64": "aarch64"}.get(platform.machine(), platform.machine())
    sleep, woken = _SLEEP.get(sys.platform, ("add i32 0, 0", ""))
    pause, declaration = _PAUSE.get(machine, ("", ""))
    fields = {**STATE, "line": LINE, "pause": pause}
    fields |= {"sleep": sleep.format(futex=FUTEX.get(machine, 0)), "woken": woken.format(futex=FUTEX.get(machine, 0))}
    text = _SLEEPING + _SHARING + _RUNNING
    for name, value in fields.items():
        text = text.replace("{" + name + "}", str(value))
    return f"declare i64 @llvm.smin.i64(i64, i64)\ndeclare i64 @llvm.smax.i64(i64, i64)\n{declaration}\n{text}"


@functools.cache
def functions() -> SimpleNamespace:
    """Addresses of `run`, `bundle`, `worker`, `advance` and `pause`."""
    names = ["run", "bundle", "worker", "advance", "pause"]
    found = jit.functions(ir(), [f"flambeau_{name}" for name in names])
    return SimpleNamespace(**{name: found[f"flambeau_{name}"] for name in names})

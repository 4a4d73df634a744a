"""FUSE requests and system calls per operation: the measure of cost that is the same on every run."""
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmark.volume import Failed, Skipped, in_child
from benchmark.workloads import MIB, append, fetch, make, read_file, write_file


def on_files(step):
    return lambda top: [step(f'{top}/file{i}') for i in range(100)]


def on_big(step, *more):
    return lambda top: step(f'{top}/big', 64 * MIB, *more)


def both(first, second):
    return lambda top: (first(top), second(top))


def thousand(top):
    for i in range(1000):
        make(f'{top}/of-many{i}')


def listing(top):
    for entry in os.scandir(top):
        entry.stat()


OPERATIONS = (  # title, how many are done, what is prepared, whether a remount follows, what is done
    ('create, write 4 KiB, close', 100, None, False, on_files(make)),
    ('open, read, close a small file, cold', 100, on_files(make), True, on_files(fetch)),
    ('open, read, close a small file, again', 100, both(on_files(make), on_files(fetch)), False, on_files(fetch)),
    ('stat, cold', 100, on_files(make), True, on_files(os.stat)),
    ('stat, again', 100, both(on_files(make), on_files(os.stat)), False, on_files(os.stat)),
    ('stat of a missing name', 100, None, False, on_files(os.path.exists)),
    ('list 1000 files with attributes, cold', 1, thousand, True, listing),
    ('list 1000 files with attributes, again', 1, both(thousand, listing), False, listing),
    ('rename', 100, on_files(make), False, on_files(lambda path: os.rename(path, f'{path}-new'))),
    ('unlink', 100, on_files(make), False, on_files(os.unlink)),
    ('append 4 KiB, fsync', 100, None, False, lambda top: append(f'{top}/log', 100)),
    ('write 1 MiB in sequence', 64, None, False, on_big(write_file, MIB)),
    ('read 1 MiB in sequence, cold', 64, on_big(write_file, MIB), True, on_big(read_file)),
)
OPCODES = dict(enumerate(  # of include/uapi/linux/fuse.h
    '- LOOKUP FORGET GETATTR SETATTR READLINK SYMLINK - MKNOD MKDIR UNLINK RMDIR RENAME LINK OPEN READ WRITE STATFS '
    'RELEASE - FSYNC SETXATTR GETXATTR LISTXATTR REMOVEXATTR FLUSH INIT OPENDIR READDIR RELEASEDIR FSYNCDIR GETLK SETLK SETLKW ACCESS '
    'CREATE INTERRUPT BMAP DESTROY IOCTL POLL NOTIFY_REPLY BATCH_FORGET FALLOCATE READDIRPLUS RENAME2 LSEEK COPY_FILE_RANGE '
    'SETUPMAPPING REMOVEMAPPING SYNCFS TMPFILE STATX'.split()))

DEVICE = ('/dev/fuse', ''.join(f'\\x{byte:02x}' for byte in b'/dev/fuse'))  # as strace -y and as strace -y -xx write it


def count(volumes, options, progress):
    """By volume and operation: requests and system calls, or None where they cannot be counted; and why."""
    results, notes = {volume.name: {} for volume in volumes}, {}
    for volume in volumes:
        for operation in OPERATIONS:
            place = f'{volume.name}, {operation[0]}'
            progress(place)
            for _ in range(20):
                drops = cache_drops()
                try:
                    volume.create()
                    results[volume.name][operation[0]] = count_one(volume, operation, options.limit, notes)
                except (Failed, OSError, subprocess.SubprocessError) as error:
                    notes[place] = f'failed: {error}'
                finally:
                    volume.remove()
                if cache_drops() == drops:
                    break
            else:
                notes[place] = 'too high: another process drops the caches of the kernel all the time'
    return results, notes


def cache_drops():
    """How often anybody wrote to /proc/sys/vm/drop_caches: what the kernel forgot it must ask for again."""
    return re.findall('drop_slab .*', Path('/proc/vmstat').read_text())


def count_one(volume, operation, limit, notes):
    _, times, prepare, cold, work = operation
    run = lambda step: in_child(lambda: (step(volume.mnt), None)[1], limit)
    # The kernel sends RELEASE and FORGET when it finds the time.
    settle = lambda: time.sleep(0.3)
    if prepare:
        run(prepare)
    if cold:
        volume.cold()
    settle()
    before = volume.requests()
    try:
        calls, requests = traced(volume, lambda: (run(work), settle()))
    except Skipped as reason:
        calls = requests = None
        notes['system calls'] = f'skipped: {reason}'
        if before is not None:
            run(work)
            settle()
    if before is not None:
        requests = volume.requests() - before
    per_operation = lambda counts: counts and {name: counted / times for name, counted in counts.most_common()}
    return {'requests': per_operation(requests), 'calls': per_operation(calls)}


def traced(volume, work):
    """Runs work(); the daemon's system calls meanwhile, and the requests that it read from /dev/fuse."""
    if not shutil.which('strace'):
        raise Skipped('no strace')
    path = volume.cfg / 'strace'
    words = ['strace', '-f', '-y', '-xx', '-s', '8', '-o', path, '-p', str(volume.daemon.pid)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as strace:
        try:
            said = strace.stderr.readline()
            if ' attached' not in said:
                raise Skipped(said.strip())
            work()
        finally:
            strace.send_signal(signal.SIGINT)
    return parse(path.read_text())


def parse(trace):
    """A system call that another thread interrupts has two lines, the second one "<... read resumed>"."""
    calls, requests, reading = Counter(), Counter(), {}
    for line in trace.splitlines():
        thread, said = line.split(maxsplit=1)
        begun = re.match(r'(\w+)\(([^,]*)', said)
        if begun:
            calls[begun[1]] += 1
            reading[thread] = begun[1] in ('read', 'readv', 'splice') and any(name in begun[2] for name in DEVICE)
        if reading.get(thread) and re.search(r'\) += [1-9]', said):
            requests[opcode(said)] += 1
    return calls, requests


def opcode(said):
    """Out of struct fuse_in_header: its length, then the opcode. splice(2) shows no data."""
    header = re.search(r'"((?:\\x..){8})"', said)
    if not header:
        return 'some'
    code = int.from_bytes(bytes.fromhex(header[1].replace('\\x', ''))[4:], sys.byteorder)
    return OPCODES.get(code, f'opcode{code}')

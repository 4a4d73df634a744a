"""The workloads: what is done to a volume, and what is measured by it."""
import json
import os
import shutil
import statistics
import subprocess
import time

from benchmark.volume import Failed, Skipped, command, in_child

MIB = 1 << 20
DATA = os.urandom(MIB)

ROWS = {  # what is measured: title, unit, whether more is better
    'write': ('sequential write, 1 MiB calls, fsync', 'MiB/s', True),
    'write_4k': ('sequential write, 4 KiB calls, fsync', 'MiB/s', True),
    'read_cold': ('sequential read, cold', 'MiB/s', True),
    'read_warm': ('sequential read, again', 'MiB/s', True),
    'random_read_1': ('random 4 KiB reads, cold, 1 thread', '/s', True),
    'random_read_4': ('random 4 KiB reads, cold, 4 threads', '/s', True),
    'random_write_1': ('random 4 KiB writes, fsync at the end, 1 thread', '/s', True),
    'random_write_4': ('random 4 KiB writes, fsync at the end, 4 threads', '/s', True),
    'create': ('create files of 4 KiB', '/s', True),
    'list_warm': ('ls -lR of them', 's', False),
    'list_cold': ('ls -lR of them, cold', 's', False),
    'read_files': ('read them, cold', '/s', True),
    'rename': ('rename them', '/s', True),
    'unlink': ('unlink them', '/s', True),
    'sqlite_full': ('SQLite transactions, FULL, rollback journal', '/s', True),
    'sqlite_wal': ('SQLite transactions, FULL, WAL', '/s', True),
    'append': ('append 4 KiB and fsync', '/s', True),
    'cpu_write': ('CPU of the daemon per GiB written', 's', False),
    'cpu_read': ('CPU of the daemon per GiB read', 's', False),
    'memory': ('peak memory of the daemon', 'MiB', False),
}


def measure(volumes, options, progress):
    """All repetitions: figures by volume and row, and why some are missing."""
    results, notes = {volume.name: {} for volume in volumes}, {}
    for repetition in range(options.reps):
        for group in options.only:
            for volume in volumes[::-1 if repetition % 2 else 1]:
                place = f'{volume.name}, {group}'
                if place in notes:
                    continue  # it failed before
                progress(f'{repetition + 1} of {options.reps}: {place}')
                try:
                    volume.create()
                    GROUPS[group](Measure(volume, options.limit, results[volume.name], notes), volume.mnt, options.scale)
                except (Failed, OSError, subprocess.SubprocessError) as error:
                    notes[place] = f'failed: {error}'
                finally:
                    volume.remove()
        for volume in volumes:
            if volume.peak:
                results[volume.name].setdefault('memory', []).append(volume.peak)
            volume.peak = 0
    return results, notes


class Measure:
    """m(ROW, WORK) runs WORK in a child and records its figure."""

    def __init__(self, volume, limit, results, notes):
        self.volume, self.limit, self.results, self.notes = volume, limit, results, notes

    def __call__(self, row, work, cpu_row=None, size=None):
        before = self.volume.cpu()
        try:
            self.put(row, in_child(work, self.limit))
        except Skipped as reason:
            self.notes[ROWS[row][0]] = f'skipped: {reason}'
        except Failed as reason:
            raise Failed(f'{ROWS[row][0]}: {reason}') from None
        if cpu_row and before is not None:
            self.put(cpu_row, (self.volume.cpu() - before) * 1024 * MIB / size)

    def put(self, row, figure):
        self.results.setdefault(row, []).append(figure)

    def prepare(self, work):
        """Runs WORK likewise, for its effect."""
        in_child(lambda: (work(), None)[1], self.limit)

    def cold(self):
        self.volume.cold()


# Groups: workloads that use each other's files.

def stream(m, top, scale):
    size = max(8, int(1024 * scale)) * MIB
    m('write', lambda: write_file(top / 'big', size, MIB), 'cpu_write', size)
    m.cold()
    m('read_cold', lambda: read_file(top / 'big', size), 'cpu_read', size)
    m('read_warm', lambda: read_file(top / 'big', size))
    m('write_4k', lambda: write_file(top / 'small-calls', size // 8, 4096))


def random(m, top, scale):
    size = max(8, int(512 * scale)) * MIB
    m.prepare(lambda: write_file(top / 'file', size, MIB))
    for direction in 'read', 'write':
        for threads in 1, 4:
            m.cold()
            m(f'random_{direction}_{threads}', lambda: fio(top / 'file', direction, threads, size, size // 4))


def files(m, top, scale):
    count = max(100, int(10000 * scale))
    names = lambda word, step=0: [f'{top}/d{(i + step) % 100}/{word}{i}' for i in range(count)]
    old, new, moved = names('old'), names('new'), names('new', 1)
    each = lambda step, *lists: count / seconds(lambda: [step(*paths) for paths in zip(*lists)])
    listing = lambda: seconds(lambda: subprocess.run(['ls', '-lR', top], stdout=subprocess.DEVNULL, check=True))
    walk = lambda: [fetch(f'{at}/{name}') for at, _, found in os.walk(top) for name in found]
    m.prepare(lambda: [os.mkdir(f'{top}/d{i}') for i in range(100)])
    m('create', lambda: each(make, old))
    m('list_warm', listing)
    m.cold()
    m('list_cold', listing)
    m.cold()
    m('read_files', lambda: count / seconds(walk))
    # Within a directory, and into the next one.
    m('rename', lambda: statistics.harmonic_mean([each(os.rename, old, new), each(os.rename, new, moved)]))
    m('unlink', lambda: each(os.unlink, moved))


def databases(m, top, scale):
    count = max(50, int(2000 * scale))
    m('sqlite_full', lambda: sqlite(top / 'journal', count, 'delete'))
    m('sqlite_wal', lambda: sqlite(top / 'wal', count, 'wal'))


def log(m, top, scale):
    m('append', lambda: append(top / 'log', max(50, int(4000 * scale))))


GROUPS = {'stream': stream, 'random': random, 'files': files, 'sqlite': databases, 'append': log}


# Steps. Those with a count or a size say how fast.

def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def write_file(path, size, step):
    def work():
        file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
        for _ in range(size // step):
            os.write(file, DATA[:step])
        os.fsync(file)
        os.close(file)
    return size / MIB / seconds(work)


def read_file(path, size):
    def work():
        file, buffer = os.open(path, os.O_RDONLY), [bytearray(MIB)]
        while os.readv(file, buffer):
            pass
        os.close(file)
    return size / MIB / seconds(work)


def make(path):
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    os.write(file, DATA[:4096])
    os.close(file)


def fetch(path):
    file = os.open(path, os.O_RDONLY)
    while os.read(file, 65536):
        pass
    os.close(file)


def append(path, count):
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    return count / seconds(lambda: [(os.write(file, DATA[:4096]), os.fsync(file)) for _ in range(count)])


def sqlite(path, count, journal):
    try:
        import sqlite3
    except ImportError:
        raise Skipped('this Python has no sqlite3') from None
    db = sqlite3.connect(path, isolation_level=None)  # each statement is a transaction
    db.execute(f'pragma journal_mode={journal}')
    db.execute('pragma synchronous=full')
    db.execute('create table t(id integer primary key, b blob)')
    return count / seconds(lambda: [db.execute('insert into t(b) values(?)', (DATA[i:i + 200],)) for i in range(count)])


def fio(path, direction, threads, size, amount):
    """Threads of Python would measure Python's lock."""
    if not shutil.which('fio'):
        raise Skipped('no fio')
    said = command(['fio', '--name=random', '--output-format=json', '--ioengine=psync', '--bs=4k', '--thread',
                    '--group_reporting', '--allow_file_create=0', f'--filename={path}', f'--rw=rand{direction}',
                    f'--numjobs={threads}', f'--size={size}', f'--io_size={amount // threads}', '--runtime=10',
                    '--end_fsync=1'])
    return json.loads(said[said.index('{'):])['jobs'][0][direction]['iops']

"""What is printed: Markdown."""
import os
import platform
import re
import statistics
import subprocess
import time
from pathlib import Path

from benchmark.workloads import ROWS


def facts(volumes, options, backing):
    """The computer and the programs."""
    model = re.search(r'model name\s*: (.*)', Path('/proc/cpuinfo').read_text())
    versions = {volume.name: version(volume.program) for volume in volumes if volume.program}
    return {'date': time.strftime('%F %T %z'), 'cpu': model[1] if model else platform.machine(), 'cpus': os.cpu_count(),
            'kernel': platform.release(), 'backing': backing, 'repetitions': options.reps, 'scale': options.scale,
            'versions': versions}


def version(program):
    for word in '--version', 'version':
        try:
            said = subprocess.run([program, word], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        except OSError:
            return 'not found'
        first = said.stdout.strip().split('\n')[0]
        if said.returncode == 0 and (word == 'version' or re.search(r'\d', first)):
            return first
    return '?'


def head(facts):
    print(f'{facts["date"]}, {facts["cpus"]} x {facts["cpu"]}, Linux {facts["kernel"]}, on {facts["backing"]}\n')
    for name, said in facts['versions'].items():
        print(f'- {name}: {said}')


def times(results, baseline, options):
    middle, cells = {}, {}
    for name, rows in results.items():
        for row, values in rows.items():
            middle[name, row] = statistics.median(values)
            cells[name, row] = number(middle[name, row]) + spread(values)
    rows = {row: ROWS[row][:2] for row in ROWS if any((name, row) in cells for name in results)}
    title = f'Medians of {options.reps}, ± half of the range; --scale {options.scale:g}'
    table(title, ['workload', 'unit'], rows, results, cells)
    ratios = {}
    for name, row in middle:
        if middle[name, row] and middle.get((baseline, row)):
            ratio = middle[name, row] / middle[baseline, row]
            ratios[name, row] = ratio if ROWS[row][2] else 1 / ratio
    for name in {name for name, _ in ratios}:
        ratios[name, 'mean'] = statistics.geometric_mean([ratio for (of, _), ratio in ratios.items() if of == name])
    cells = {place: f'{ratio:.2f}' for place, ratio in ratios.items()}
    rows = {row: [title] for row, title in [*((row, ROWS[row][0]) for row in ROWS), ('mean', 'geometric mean')]
            if (baseline, row) in ratios}
    if not rows:
        return
    table(f'Ratios to {baseline}, above 1 is better', ['workload'], rows, results, cells)


def requests(results):
    cells, kinds = {}, {}
    for name, operations in results.items():
        for title, counts in operations.items():
            pair = [counts['requests'], counts['calls']]
            cells[name, title] = ' / '.join('-' if part is None else number(sum(part.values())) for part in pair)
            kinds[name, title] = [', '.join(f'{kind} {number(count)}' for kind, count in part.items() if count >= 0.05)
                                  if part else '0' if part == {} else '-' for part in pair]
    rows = {title: [title] for _, title in cells}
    table('FUSE requests / system calls of the daemon, per operation', ['operation'], rows, results, cells)
    for name in results:
        each = {(column, title): parts[i] or '0' for (of, title), parts in kinds.items() if of == name
                for i, column in enumerate(('requests', 'system calls'))}
        table(f'{name}: which, where 0.05 or more', ['operation'], rows, ['requests', 'system calls'], each)


def notes(notes):
    print()
    for place, text in notes.items():
        print(f'- {place}: {text}')


def table(title, head, rows, columns, cells):
    """`rows` has the first cells of each row by its key, `cells` the others by column and key."""
    print(f'\n{title}:\n')
    print('| ' + ' | '.join([*head, *columns]) + ' |')
    print('| ' + ' | '.join(['---'] * len(head) + ['---:'] * len(columns)) + ' |')
    for row, first in rows.items():
        print('| ' + ' | '.join([*first, *(cells.get((column, row), '-') for column in columns)]) + ' |')


def spread(values):
    middle = statistics.median(values)
    return f' ±{(max(values) - min(values)) / 2 / middle:.0%}' if len(values) > 1 and middle else ''


def number(value):
    return f'{value:.0f}' if value >= 100 else f'{value:.3g}'

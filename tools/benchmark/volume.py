"""A file system under test: how it is made, mounted, asked and removed."""
import multiprocessing
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

# How a volume is made, and mounted in the foreground. {back} is the backing directory, {mnt} the mount point, {cfg} a
# directory for the rest; standard input is {cfg}/password. Password hashing is turned down where that can be done: it
# would lengthen every remount, and be the peak of memory. Names with a dash are measured only when --fs names them.
RECIPES = {
    'native': ('', ''),
    'cryptfs': ('cryptfs init --quiet {back}', 'cryptfs mount --foreground -o log={cfg}/log {back} {mnt}'),
    'cryptfs-image': ('cryptfs init --quiet --image --size 4G {back}/volume',
                      'cryptfs mount --foreground -o log={cfg}/log {back}/volume {mnt}'),
    'gocryptfs': ('gocryptfs -init -q -scryptn 10 -passfile {cfg}/password {back}',
                  'gocryptfs -fg -q -passfile {cfg}/password {back} {mnt}'),
    'securefs': ('securefs create --format 4 --pbkdf pkcs5-pbkdf2-hmac-sha256 -r 20000 --pass x {back}',
                 'securefs mount --pass x {back} {mnt}'),
    'encfs': ('', 'encfs -f -S --standard {back} {mnt}'),
    'cryfs': ('', 'cryfs -f {back} {mnt}'),
    'bindfs': ('', 'bindfs -f --no-allow-other {back} {mnt}'),  # ciphers nothing
}
FORK = multiprocessing.get_context('fork')


class Failed(Exception):
    """A file system or a program did not do what was asked."""


class Skipped(Exception):
    """Cannot be measured here; says what is missing."""


class Volume:
    """A file system with its backing directory, mount point and daemon; native is a directory without a daemon."""

    def __init__(self, name, scratch, cryptfs, drop_caches):
        self.name, self.daemon, self.drop_caches, self.peak = name, None, drop_caches, 0
        self.init, self.mounter = (shlex.split(line) for line in RECIPES[name])
        self.alias = self.mounter[0] if self.mounter else ''
        self.program = cryptfs if self.alias == 'cryptfs' else shutil.which(self.alias) or self.alias
        self.unmounter = [self.alias, 'umount', '{mnt}'] if self.alias == 'cryptfs' else ['fusermount3', '-u', '{mnt}']
        self.top = scratch / name
        self.back, self.cfg = self.top / 'back', self.top / 'cfg'
        self.mnt = self.top / 'mnt' if self.mounter else self.back
        # HOME: no peer sees the user's own settings.
        self.env = dict(os.environ, HOME=str(self.cfg), CRYPTFS_KEYSTORE=str(self.cfg / 'keystore'),
                        CRYFS_FRONTEND='noninteractive', CRYFS_NO_UPDATE_CHECK='true')

    def argv(self, line):
        words = [word.format(back=self.back, cfg=self.cfg, mnt=self.mnt) for word in line]
        return [self.program] + words[1:] if words[0] == self.alias else words

    def create(self):
        """Anew, empty, and mounted."""
        for path in {self.back, self.cfg, self.mnt}:
            path.mkdir(parents=True)
        (self.cfg / 'password').write_text('benchmark\n')
        if self.init:
            command(self.argv(self.init), env=self.env, stdin=subprocess.DEVNULL, timeout=60)
        self.mount()

    def mount(self):
        if not self.mounter:
            return
        with open(self.cfg / 'password') as password, open(self.cfg / 'output', 'w') as output:
            # A session of its own: ctrl-C must not reach the daemon before its volume is unmounted.
            self.daemon = subprocess.Popen(self.argv(self.mounter), env=self.env, stdin=password, stdout=output,
                                           stderr=output, start_new_session=True)
        end = time.monotonic() + 60
        while not self.is_mounted():
            if self.daemon.poll() is not None:
                raise Failed('cannot be mounted: ' + last_words((self.cfg / 'output').read_text()))
            if time.monotonic() > end:
                raise Failed('does not mount')
            time.sleep(0.005)
        in_child(lambda: os.stat(self.mnt).st_ino, 60)  # from now on it is served

    def unmount(self):
        """Returns when the daemon is gone: until then it may still be writing."""
        if not self.daemon:
            return
        self.peak = max(self.peak, self.memory())
        daemon, self.daemon = self.daemon, None
        try:
            for _ in range(20):  # a measuring process that was killed may not be gone yet
                if not self.is_mounted():
                    break
                subprocess.run(self.argv(self.unmounter), env=self.env, timeout=20, capture_output=True)
                time.sleep(0.1 if self.is_mounted() else 0)
            daemon.wait(1 if self.is_mounted() else 60)
        except subprocess.TimeoutExpired:
            subprocess.run(['fusermount3', '-uz', self.mnt], capture_output=True)
            daemon.kill()
            daemon.wait()

    def is_mounted(self):
        """By the kernel's list: a stat(2) would hang when the daemon does."""
        path = str(self.mnt).replace(' ', '\\040')
        return any(line.split()[4] == path for line in Path('/proc/self/mountinfo').read_text().splitlines())

    def cold(self):
        self.unmount()
        if self.drop_caches:
            os.sync()
            Path('/proc/sys/vm/drop_caches').write_text('3')
        self.mount()

    def remove(self):
        self.unmount()
        shutil.rmtree(self.top, ignore_errors=True)

    def cpu(self):
        """Seconds of CPU that the daemon used: as /proc/PID/stat has it, but not rounded to ticks of 10 ms."""
        return time.clock_gettime(~self.daemon.pid << 3 | 2) if self.daemon else None

    def memory(self):
        """The daemon's peak so far, MiB."""
        try:
            found = re.search(r'VmHWM:\s+(\d+) kB', Path(f'/proc/{self.daemon.pid}/status').read_text())
        except FileNotFoundError:
            found = None  # it died
        return int(found[1]) / 1024 if found else 0

    def requests(self):
        """FUSE requests so far by the daemon's own count, which it logs when asked; None from a peer."""
        log = self.cfg / 'log'
        if not log.exists():
            return None
        counts = lambda: re.findall(r'requests: (.*)', log.read_text())
        before = len(counts())
        self.daemon.send_signal(signal.SIGUSR1)
        for _ in range(500):
            if len(counts()) > before:
                return Counter({name: int(count) for name, count in re.findall(r'(\w+)=(\d+)', counts()[-1])})
            time.sleep(0.01)
        raise Failed('does not log its requests')


def command(words, **options):
    """What a program says; Failed if it fails."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace', **options)
    if done.returncode:
        raise Failed(last_words(done.stdout) or f'{words[0]} ended with {done.returncode}')
    return done.stdout


def last_words(said):
    return '; '.join(said.split('\n')).strip('; ')[-300:]


def in_child(work, limit):
    """The result of work(), in a process that can be killed: a file system that hangs must not hang the benchmark."""
    ours, theirs = FORK.Pipe(duplex=False)

    def body():
        os.setsid()
        try:
            theirs.send((None, work()))
        except (Failed, Skipped) as error:
            theirs.send((error, None))
        except Exception as error:
            theirs.send((Failed(repr(error)), None))

    child = FORK.Process(target=body)
    child.start()
    theirs.close()
    try:
        if not ours.poll(limit):
            raise Failed(f'not done within {limit:.0f} s')
        error, result = ours.recv()
    except EOFError:
        raise Failed('the measuring process died') from None
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)  # with the programs that it started
        except ProcessLookupError:
            child.kill()
        child.join()
    if error:
        raise error
    return result

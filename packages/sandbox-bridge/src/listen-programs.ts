/**
 * Programs that listen inside a guest, as `ssh -R` asks for: the agent has no message for it.
 *
 * Arguments: `tcp PORT` or `unix PATH`. A line of stdin is a secret; the end of stdin stops it. On
 * stdout first come the port that listens (0 for a path) and a second one on loopback, then a line for
 * each connection: its number, and where it is from. Whoever connects to the second port and says
 * the secret and the number has that connection, so that each has a stream of the agent's for itself,
 * with its own pace. What nobody fetches is bounded, and dropped at the end.
 */
import type { GuestProgram } from './guest-programs.ts'

/** Most connections that wait to be fetched. */
const WAITING_MAX = 64

/** In the order they are looked for, which is that of small images. */
export const LISTENERS: readonly GuestProgram[] = [
  {
    name: 'perl',
    args: [
      '-e',
      `use Socket;
my ($kind, $where) = @ARGV;
my $secret = "";
while (sysread(STDIN, my $byte, 1)) { last if $byte eq "\\n"; $secret .= $byte }
if ($kind eq "tcp") {
  socket(D, AF_INET, SOCK_STREAM, 0) or die "$!\\n";
  setsockopt(D, SOL_SOCKET, SO_REUSEADDR, 1);
  bind(D, pack_sockaddr_in($where, INADDR_LOOPBACK)) or die "$!\\n";
} else {
  umask 0177;
  socket(D, AF_UNIX, SOCK_STREAM, 0) and bind(D, pack_sockaddr_un($where)) or die "$!\\n";
}
socket(I, AF_INET, SOCK_STREAM, 0) and bind(I, pack_sockaddr_in(0, INADDR_LOOPBACK)) or die "$!\\n";
listen(D, 64) and listen(I, 64) or die "$!\\n";
pipe(R, W);
$SIG{CHLD} = "IGNORE";
$SIG{PIPE} = "IGNORE";
sub say_line { syswrite(STDOUT, "@_\\n") }
sub port { (unpack_sockaddr_in(getsockname($_[0])))[0] }
say_line($kind eq "tcp" ? port(*D) : 0, port(*I));
sub copy {
  my ($from, $to, $chunk) = @_;
  while (sysread($from, $chunk, 65536)) {
    for (my $at = 0; $at < length $chunk;) {
      $at += syswrite($to, $chunk, length($chunk) - $at, $at) // return;
    }
  }
  shutdown($to, 1);
}
my (%waiting, $count);
sub serve {
  my ($near, $line) = (shift, "");
  close D; close I; close R; close STDIN;
  $SIG{ALRM} = sub { exit };
  alarm 10;
  while ($line !~ /\\n/ and length $line < 100 and sysread($near, my $byte, 1)) { $line .= $byte }
  alarm 0;
  my ($said, $id) = split " ", $line;
  my $far = $waiting{$id // ""};
  exit unless $far and $said eq $secret;
  syswrite(W, "$id\\n");
  close $_ for values %{{ map { $_ => $waiting{$_} } grep { $_ ne $id } keys %waiting }};
  my $child = fork;
  if (!$child) { copy($near, $far); exit }
  copy($far, $near);
  waitpid($child, 0);
  exit;
}
for (;;) {
  my $ready = "";
  vec($ready, fileno($_), 1) = 1 for *STDIN, *D, *I, *R;
  select($ready, undef, undef, undef) > 0 or next;
  if (vec($ready, fileno(STDIN), 1)) { last unless sysread(STDIN, my $rest, 4096) }
  if (vec($ready, fileno(R), 1)) {
    sysread(R, my $taken, 4096);
    for (split " ", $taken) { close $waiting{$_}; delete $waiting{$_} }
  }
  if (vec($ready, fileno(D), 1) and my $from = accept(my $far, D)) {
    if (keys %waiting >= ${WAITING_MAX}) { close $far; next }
    $waiting{++$count} = $far;
    my @from = $kind eq "tcp" ? unpack_sockaddr_in($from) : ();
    say_line($count, @from ? (inet_ntoa($from[1]), $from[0]) : ("-", 0));
  }
  if (vec($ready, fileno(I), 1) and accept(my $near, I)) {
    serve($near) if !fork;
    close $near;
  }
}
close D; close I; close W;
unlink $where if $kind ne "tcp";
close $_ for values %waiting;
1 while wait != -1;`,
    ],
  },
  {
    name: 'python3',
    args: [
      '-c',
      `import hmac, os, socket, sys, threading
kind, where = sys.argv[1:3]
secret = b""
while (byte := os.read(0, 1)) not in (b"", b"\\n"):
    secret += byte
try:
    if kind == "tcp":
        door = socket.socket()
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(("127.0.0.1", int(where)))
    else:
        os.umask(0o177)
        door = socket.socket(socket.AF_UNIX)
        door.bind(where)
    inner = socket.socket()
    inner.bind(("127.0.0.1", 0))
    door.listen(64)
    inner.listen(64)
except OSError as error:
    sys.exit(error.strerror)
waiting, joined = {}, []
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
def copy(from_, to):
    try:
        while chunk := from_.recv(65536):
            to.sendall(chunk)
        to.shutdown(socket.SHUT_WR)
    except OSError:
        pass
def serve(near):
    line = b""
    try:
        near.settimeout(10)
        while not line.endswith(b"\\n") and len(line) < 100 and (byte := near.recv(1)):
            line += byte
        near.settimeout(None)
    except OSError:
        pass
    words = line.split()
    good = len(words) == 2 and hmac.compare_digest(words[0], secret)
    far = waiting.pop(words[1], None) if good else None
    if far is None:
        return near.close()
    joined.append(threading.current_thread())
    other = threading.Thread(target=copy, args=(near, far), daemon=True)
    other.start()
    copy(far, near)
    other.join()
    near.close()
    far.close()
def fetch():
    while True:
        near, _ = inner.accept()
        threading.Thread(target=serve, args=(near,), daemon=True).start()
def take():
    count = 0
    while True:
        try:
            far, origin = door.accept()
        except OSError:
            return
        if len(waiting) >= ${WAITING_MAX}:
            far.close()
            continue
        count += 1
        waiting[str(count).encode()] = far
        say(count, *(origin if kind == "tcp" else ("-", 0)))
say(door.getsockname()[1] if kind == "tcp" else 0, inner.getsockname()[1])
for body in (fetch, take):
    threading.Thread(target=body, daemon=True).start()
while os.read(0, 4096):
    pass
if kind != "tcp":
    os.unlink(where)
door.shutdown(socket.SHUT_RDWR)
door.close()
for far in list(waiting.values()):
    far.close()
for thread in list(joined):
    thread.join()
os._exit(0)`,
    ],
  },
  {
    name: 'node',
    args: [
      '-e',
      `const net = require('net')
const [kind, where] = process.argv.slice(1)
const waiting = new Map()
let count = 0
let secret
const say = (...words) => process.stdout.write(words.join(' ') + '\\n')
const fail = (error) => { process.stderr.write(error.message + '\\n', () => process.exit(1)) }
const door = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (far) => {
  if (waiting.size >= ${WAITING_MAX}) return far.destroy()
  const id = String(++count)
  waiting.set(id, far)
  far.on('error', () => far.destroy())
  far.on('close', () => waiting.delete(id))
  say(id, far.remoteAddress || '-', far.remotePort || 0)
})
const inner = net.createServer({ allowHalfOpen: true }, (near) => {
  let line = Buffer.alloc(0)
  near.on('error', () => near.destroy())
  const timer = setTimeout(() => near.destroy(), 10000)
  const read = (chunk) => {
    line = Buffer.concat([line, chunk])
    const end = line.indexOf(10)
    if (end < 0 && line.length < 100) return
    near.off('data', read)
    near.pause()
    clearTimeout(timer)
    const [said, id] = line.subarray(0, end).toString().split(' ')
    const far = said === secret ? waiting.get(id) : undefined
    if (far === undefined) return near.destroy()
    waiting.delete(id)
    near.unshift(line.subarray(end + 1))
    const gone = () => { near.destroy(); far.destroy() }
    near.on('error', gone)
    far.on('error', gone)
    near.pipe(far)
    far.pipe(near)
  }
  near.on('data', read)
})
door.on('error', fail)
let begun = ''
process.stdin.on('data', (chunk) => {
  if (secret !== undefined) return
  begun += chunk
  const end = begun.indexOf('\\n')
  if (end < 0) return
  secret = begun.slice(0, end)
  process.umask(0o177)
  inner.listen(0, '127.0.0.1', () => {
    const listening = () => say(door.address().port || 0, inner.address().port)
    if (kind === 'tcp') door.listen(Number(where), '127.0.0.1', listening)
    else door.listen(where, listening)
  })
})
process.stdin.on('end', () => {
  door.close()
  inner.close()
  for (const far of waiting.values()) far.destroy()
})`,
    ],
  },
]

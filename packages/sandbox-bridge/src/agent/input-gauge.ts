/**
 * How much of a session's input waits unread in the guest, told from inside it.
 *
 * An agent that blocks on input nobody reads can only be spared by never sending more than fits,
 * and the protocol does not tell how much does. The guest's kernel does: a small program started
 * beside the session asks it. Frames are handled in order, so what it answers counts everything
 * that was sent before it was asked.
 */
import type { Link } from './link.ts'
import type { AgentProcess } from './process.ts'

/** Asks once for each byte on its stdin; the first line is the size of the pipe, 0 for a terminal. */
const PERL = `
use Fcntl;
$| = 1;
sysopen(F, "/proc/$ARGV[0]/fd/0", O_RDONLY | O_NONBLOCK | O_NOCTTY) or exit 3;
my $size = fcntl(F, 1032, 0);
print defined $size ? $size + 0 : 0, "\\n";
while (sysread(STDIN, my $byte, 1)) {
  my $count = pack("L", 0);
  defined ioctl(F, 0x541B, $count) or exit 4;
  print unpack("L", $count), "\\n";
}
`

const PYTHON = `
import fcntl, os, struct, sys, termios
f = os.open("/proc/%s/fd/0" % sys.argv[1], os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
try:
    size = fcntl.fcntl(f, 1032)
except OSError:
    size = 0
print(size, flush=True)
while os.read(0, 1):
    count = fcntl.ioctl(f, termios.FIONREAD, struct.pack("I", 0))
    print(struct.unpack("I", count)[0], flush=True)
`

/** Programs that can ask the kernel, by what guests are likely to have. */
const PROGRAMS: readonly { readonly command: string; readonly args: readonly string[] }[] = [
  { command: 'perl', args: ['-e', PERL, '--'] },
  { command: 'python3', args: ['-c', PYTHON] },
]

/** An answer: the session's pipe, or terminal, at that moment. */
export interface InputLevel {
  /** Bytes nobody has read. */
  readonly unreadBytes: number
  /** Bytes the pipe takes in all; 0 for a terminal. */
  readonly sizeBytes: number
}

/** A running gauge of one session. */
export class InputGauge {
  readonly #program: AgentProcess
  readonly sizeBytes: number
  #text = ''

  private constructor(program: AgentProcess, sizeBytes: number) {
    this.#program = program
    this.sizeBytes = sizeBytes
  }

  /**
   * Starts one for the program `pid`. Undefined if the guest has neither perl nor python3, or the
   * program has no stdin to look at any more.
   */
  static async start(link: Link, pid: number): Promise<InputGauge | undefined> {
    for (const { command, args } of PROGRAMS) {
      try {
        const program = await link.exec({ command, args: [...args, String(pid)], user: '0' })
        const gauge = new InputGauge(program, 0)
        const size = await gauge.#line()
        if (size !== undefined) return new InputGauge(program, size)
      } catch {
        // Not installed here, or not allowed: perhaps the next one.
      }
    }
    return undefined
  }

  /** Asks. Undefined if it cannot tell any more. */
  async level(): Promise<InputLevel | undefined> {
    try {
      await this.#program.send(ASK)
      const unreadBytes = await this.#line()
      return unreadBytes === undefined ? undefined : { unreadBytes, sizeBytes: this.sizeBytes }
    } catch {
      return undefined
    }
  }

  close(): void {
    this.#program.signal('KILL')
    this.#program.discardOutput()
  }

  async #line(): Promise<number | undefined> {
    while (!this.#text.includes('\n')) {
      const chunk = await this.#program.read()
      if (chunk === undefined || this.#text.length > LINE_MAX) return undefined
      this.#text += String.fromCharCode(...chunk.subarray(0, LINE_MAX))
    }
    const line = this.#text.slice(0, this.#text.indexOf('\n'))
    this.#text = this.#text.slice(line.length + 1)
    return /^\d{1,9}$/.test(line) ? Number(line) : undefined
  }
}

const ASK = Uint8Array.of(0x0a)
const LINE_MAX = 64

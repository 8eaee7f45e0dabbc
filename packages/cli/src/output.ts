/** Lines for people, all on stderr: stdout belongs to the remote program. */

/** How much is said; each level includes those before it. */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace'

const LEVELS: readonly LogLevel[] = ['error', 'warn', 'info', 'debug', 'trace']
/** Columns of the label in a success line. */
const LABEL_COLUMNS = 12

/** Writes what `write` is given; `color` says whether escape sequences are understood there. */
export class Output {
  readonly #write: (text: string) => void
  readonly #color: boolean
  readonly #level: number

  constructor(write: (text: string) => void, color: boolean, level: LogLevel = 'info') {
    this.#write = write
    this.#color = color
    this.#level = LEVELS.indexOf(level)
  }

  /** `error: …` */
  error(message: string): void {
    this.#line('error', `${this.#paint('1;31', 'error:')} ${printable(message)}`)
  }

  /** `warn: …` */
  warn(message: string): void {
    this.#line('warn', `${this.#paint('1;33', 'warn:')} ${printable(message)}`)
  }

  /** `   ✓ SSH listening 127.0.0.1:2222` */
  success(label: string, target: string): void {
    const mark = this.#paint('32', '✓')
    this.#line('info', `   ${mark} ${label.padEnd(LABEL_COLUMNS)} ${printable(target)}`)
  }

  /** `   … Starting     devbox`: what is under way and takes its time. */
  progress(label: string, target: string): void {
    this.#line('info', `   … ${label.padEnd(LABEL_COLUMNS)} ${printable(target)}`)
  }

  /** `debug: …`, shown with `--debug` and `--trace`. */
  debug(message: string): void {
    this.#line('debug', `debug: ${printable(message)}`)
  }

  /** `trace: …`, shown with `--trace`. */
  trace(message: string): void {
    this.#line('trace', `trace: ${printable(message)}`)
  }

  #line(level: LogLevel, text: string): void {
    if (LEVELS.indexOf(level) <= this.#level) this.#write(`${text}\n`)
  }

  #paint(code: string, text: string): string {
    return this.#color ? `\u001b[${code}m${text}\u001b[0m` : text
  }
}

/** True if escape sequences are welcome on that stream. */
export function wantsColor(
  stream: { readonly isTTY?: boolean },
  env: Readonly<Record<string, string | undefined>>,
): boolean {
  return stream.isTTY === true && !env['NO_COLOR'] && env['TERM'] !== 'dumb'
}

/** One line without control characters: texts may come from files and peers. */
function printable(text: string): string {
  return text
    .trim()
    .replace(/\s*[\r\n]+\s*/g, ' ')
    .replace(/\p{Cc}/gu, '?')
}

/** A line that tells how a copy is getting on: rate, percent, time left. */
import type { CopyProgress } from '@sandbox-ssh/sftp'

/** Between two drawings. */
const DRAW_MS = 100
/** The rate is that of about so much time past. */
const RATE_MS = 3000

/** Where it is drawn. */
export interface ProgressTerminal {
  readonly columns?: number | undefined
  write(text: string): unknown
}

/** Draws over and over in one line of a terminal, with ordinary lines kept as they are. */
export class ProgressLine {
  readonly #terminal: ProgressTerminal
  readonly #now: () => number
  #drawnMs = Number.NEGATIVE_INFINITY
  #shown = false
  readonly #samples: { readonly ms: number; readonly bytes: number }[] = []

  constructor(terminal: ProgressTerminal, nowMs: () => number = () => performance.now()) {
    this.#terminal = terminal
    this.#now = nowMs
    this.#samples.push({ ms: nowMs(), bytes: 0 })
  }

  /** Shows the file at hand; a finished one gets a line of its own that stays. */
  update(progress: CopyProgress): void {
    const now = this.#now()
    this.#sample(now, progress.totalBytes)
    if (!progress.done && now - this.#drawnMs < DRAW_MS) return
    this.#drawnMs = now
    this.#terminal.write(`\r${this.#line(progress)}\u001b[K${progress.done ? '\n' : ''}`)
    this.#shown = !progress.done
  }

  /** Clears what is unfinished, so that other lines can be written. */
  clear(): void {
    if (this.#shown) this.#terminal.write('\r\u001b[K')
    this.#shown = false
  }

  #sample(ms: number, bytes: number): void {
    this.#samples.push({ ms, bytes })
    while (this.#samples.length > 2 && ms - (this.#samples[1]?.ms ?? ms) >= RATE_MS) {
      this.#samples.shift()
    }
  }

  #line({ path, bytes, size, done }: CopyProgress): string {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)]
    const ms = (last?.ms ?? 0) - (first?.ms ?? 0)
    const rate = ms > 0 ? ((last?.bytes ?? 0) - (first?.bytes ?? 0)) / (ms / 1000) : 0
    const part = size === undefined || size === 0 ? (done ? 100 : 0) : (100 * bytes) / size
    const percent = done
      ? '100%'
      : size === undefined
        ? ' ?%'
        : `${Math.min(99, Math.floor(part))}%`
    const left = done || size === undefined || rate <= 0 ? '' : formatTime((size - bytes) / rate)
    const facts = `${percent.padStart(4)} ${formatBytes(bytes).padStart(9)} ${`${formatBytes(rate)}/s`.padStart(11)} ${left.padStart(8)}`
    const room = Math.max(8, (this.#terminal.columns ?? 80) - facts.length - 2)
    const name = printable(path)
    const shown = name.length > room ? `…${name.slice(name.length - room + 1)}` : name
    return `${shown.padEnd(room)} ${facts}`
  }
}

/** `999`, `1.2 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = Math.max(0, bytes)
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

/** `1:05`, `2:00:00`. */
export function formatTime(seconds: number): string {
  if (!(seconds < 360_000)) return '--:--'
  const whole = Math.ceil(seconds)
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const rest = `${String(m).padStart(h > 0 ? 2 : 1, '0')}:${String(s).padStart(2, '0')}`
  return h > 0 ? `${h}:${rest}` : rest
}

/** Names come from the other side. */
function printable(text: string): string {
  return text.replace(/\p{C}/gu, '?')
}

// A file system that is right, but in every permitted way inconvenient: reads come short, operations
// finish in random order and after random delays, and some fail.
import type { SftpFile, SftpFileSystem } from '../src/file-system.ts'
import { errnoError } from '../src/status.ts'

/** How it misbehaves. Chances are between 0 and 1. */
export interface Unruliness {
  readonly seed: number
  /** Chance that a read gives less than asked for. */
  readonly short: number
  /** Turns of the event loop an operation takes at most. */
  readonly turns: number
  /** Chance that a read or write fails with EIO. */
  readonly fail: number
}

/** `files` with its reads and writes made unruly. */
export function unrulyFileSystem(files: SftpFileSystem, how: Unruliness): SftpFileSystem {
  const random = randomOf(how.seed)
  const wait = async (): Promise<void> => {
    for (let turns = Math.floor(random() * (how.turns + 1)); turns > 0; turns--) {
      await new Promise<void>((resolve) => setTimeout(resolve, 0))
    }
  }
  const maybeFail = (): void => {
    if (random() < how.fail) throw errnoError('EIO')
  }
  return new Proxy(files, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name)
      if (typeof member !== 'function') return member
      if (name !== 'open') return member.bind(target)
      return async (...parameters: Parameters<SftpFileSystem['open']>): Promise<SftpFile> => {
        await wait()
        const file = await files.open(...parameters)
        return {
          async read(into, position) {
            await wait()
            maybeFail()
            const length =
              random() < how.short ? 1 + Math.floor(random() * into.length) : into.length
            return file.read(into.subarray(0, length), position)
          },
          async write(data, position) {
            await wait()
            maybeFail()
            await file.write(data, position)
          },
          stat: () => file.stat(),
          setstat: (changes) => file.setstat(changes),
          close: () => file.close(),
        }
      }
    },
  })
}

/** A small generator, the same sequence for the same seed. */
export function randomOf(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

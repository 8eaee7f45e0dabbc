/** Texts that were asked for, on stdout, where they must arrive. */
import { CliError, explain } from './failure.ts'

/**
 * Writes it all. A reader that has gone away (`| head`) has what it wanted; anything else that
 * keeps the text from where it was meant for is an error.
 * @throws CliError
 */
export async function print(text: string): Promise<void> {
  if (text === '') return
  const error = await new Promise<Error | null | undefined>((resolve) => {
    process.stdout.write(text, resolve)
  })
  if (error && !isReaderGone(error)) throw outputFailed('stdout', error)
}

/** True for what a write says whose pipe nobody reads any more. */
export function isReaderGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EPIPE'
}

/** That a stream of ours does not take what is written to it. */
export function outputFailed(stream: 'stdout' | 'stderr', cause: unknown): CliError {
  return new CliError(`cannot write to ${stream}: ${explain(cause)}`, { cause })
}

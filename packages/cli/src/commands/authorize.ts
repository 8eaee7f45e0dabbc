/** `msb ssh authorize`: lets the owners of public keys in. */
import { createReadStream } from 'node:fs'
import { authorizeKeys } from '@sandbox-ssh/sandbox-bridge'
import type { AuthorizeCommand } from '../args.ts'
import type { CommandContext } from '../context.ts'
import { CliError, explain } from '../failure.ts'

/** Larger inputs are no list of keys. */
const INPUT_BYTES_MAX = 1024 * 1024

/** Adds the keys and returns the exit code. */
export async function authorize(
  command: AuthorizeCommand,
  context: CommandContext,
): Promise<number> {
  const input = await readInput(command.source)
  const home = context.home()
  for (const { added } of await authorizeKeys(home, input)) {
    context.output.success(added ? 'Authorized key' : 'Already authorized', home.authorizedKeysPath)
  }
  return 0
}

function readInput(source: AuthorizeCommand['source']): Promise<string> {
  switch (source.from) {
    case 'argument':
      return Promise.resolve(source.key)
    case 'stdin':
      return readAll(process.stdin, 'failed to read public key from stdin')
    case 'file':
      // A stream, so that `--file <(ssh-add -L)` works as well.
      return readAll(createReadStream(source.path), `failed to read ${source.path}`)
  }
}

async function readAll(stream: AsyncIterable<Buffer>, failure: string): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  try {
    for await (const chunk of stream) {
      length += chunk.length
      if (length > INPUT_BYTES_MAX) throw new CliError(`more than ${INPUT_BYTES_MAX} bytes`)
      chunks.push(chunk)
    }
  } catch (cause) {
    throw new CliError(`${failure}: ${explain(cause)}`, { cause })
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** `msb ssh authorize`: lets the owners of public keys in, tells who may, lets them in no more. */
import { createReadStream } from 'node:fs'
import { authorizeKeys, revokeKey, sandboxKeysPath } from '@sandbox-ssh/sandbox-bridge'
import type { AuthorizeCommand, KeySource } from '../command.ts'
import type { CommandContext } from '../context.ts'
import { CliError, EXIT_LOCAL_ERROR, explain } from '../failure.ts'
import { describeGrants } from '../key-table.ts'
import { print } from '../print.ts'

/** Larger inputs are no list of keys. */
const INPUT_BYTES_MAX = 1024 * 1024

/** Does it and returns the exit code. */
export async function authorize(
  { sandbox, action }: AuthorizeCommand,
  context: CommandContext,
): Promise<number> {
  const home = context.home()
  const { output } = context
  switch (action.type) {
    case 'list':
      await print(describeGrants(home, sandbox, (message) => output.warn(message)))
      return 0
    case 'add': {
      const inputs: string[] = []
      for (const source of action.sources) inputs.push(await readInput(source))
      const expiryMs = action.expiresMs === undefined ? undefined : Date.now() + action.expiresMs
      const path = pathOf(context, sandbox)
      for (const { added, renewed } of await authorizeKeys(home, inputs.join('\n'), {
        sandbox,
        expiryMs,
        authority: action.authority,
      })) {
        output.success(
          added ? 'Authorized key' : renewed ? 'Renewed key' : 'Already authorized',
          path,
        )
      }
      return 0
    }
    case 'revoke': {
      const path = pathOf(context, sandbox)
      let missing = 0
      for (const key of action.keys) {
        const gone = await revokeKey(home, key, { sandbox })
        for (const { type } of gone.slice(0, 1)) output.success('Revoked key', `${type} ${path}`)
        if (gone.length > 0) continue
        output.error(`no such key in ${path}: ${shortened(key)}`)
        missing++
      }
      return missing === 0 ? 0 : EXIT_LOCAL_ERROR
    }
  }
}

function pathOf(context: CommandContext, sandbox: string | undefined): string {
  const home = context.home()
  return sandbox === undefined ? home.authorizedKeysPath : sandboxKeysPath(home, sandbox)
}

function shortened(key: string): string {
  return key.length > 60 ? `${key.slice(0, 60)}…` : key
}

function readInput(source: KeySource): Promise<string> {
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

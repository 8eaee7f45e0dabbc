/** The command line of `msb ssh authorize`. */
import { type Command, Option } from 'commander'
import { checked, collect } from './arg-parsers.ts'
import type { AuthorizeCommand, KeySource } from './command.ts'
import { parseLifetime } from './duration.ts'
import { AUTHORIZE_HELP } from './help.ts'

/** Adds it; `done` gets what was asked for. */
export function addAuthorize(
  ssh: Command,
  done: (command: Command, result: AuthorizeCommand) => void,
): void {
  const others = (name: string): string[] =>
    ['file', 'key', 'stdin', 'list', 'revoke'].filter((other) => other !== name)
  const command = ssh
    .command('authorize')
    .description('let the owners of public keys in, see who may, and let them in no more')
    .addOption(
      new Option('--file <path>', 'read keys from a file (repeatable)')
        .argParser(collect)
        .conflicts(others('file')),
    )
    .addOption(
      new Option('--key <key>', 'the key itself (repeatable)')
        .argParser(collect)
        .conflicts(others('key')),
    )
    .addOption(new Option('--stdin', 'read keys from stdin').conflicts(others('stdin')))
    .addOption(new Option('--list', 'show who may enter').conflicts(others('list')))
    .addOption(
      new Option('--revoke <key>', 'take out a key, or the key of a fingerprint (repeatable)')
        .argParser(collect)
        .conflicts(others('revoke')),
    )
    .option('--sandbox <name>', 'keys of this sandbox only')
    .addOption(
      new Option('--expires <duration>', 'let them in for so long, such as 8h or 30d')
        .argParser(checked(parseLifetime))
        .conflicts(['list', 'revoke']),
    )
    .addOption(
      new Option(
        '--ca',
        'the keys sign certificates, whose holders are let in, and do not log in themselves',
      ).conflicts(['list', 'revoke']),
    )
    .addOption(
      new Option(
        '--principals <names>',
        'with --ca: names, separated by commas, of which a certificate needs one ' +
          '(default: the login name)',
      ).argParser((text) => text.split(',')),
    )
    .addHelpText('after', AUTHORIZE_HELP)
  command.action(() => {
    const { sandbox } = command.opts()
    done(command, { type: 'authorize', sandbox, action: authorizeAction(command) })
  })
}

function authorizeAction(command: Command): AuthorizeCommand['action'] {
  const { file, key, stdin, list, revoke, expires, ca, principals } = command.opts()
  if (principals !== undefined && !ca)
    command.error("error: option '--principals' goes with '--ca'")
  if (list) return { type: 'list' }
  if (revoke !== undefined) return { type: 'revoke', keys: revoke }
  const files: string[] = file ?? []
  const keys: string[] = key ?? []
  const sources: KeySource[] = [
    ...files.map((path): KeySource => ({ from: 'file', path })),
    ...keys.map((text): KeySource => ({ from: 'argument', key: text })),
    ...(stdin ? [{ from: 'stdin' } as const] : []),
  ]
  if (sources.length === 0) {
    command.error('error: one of --file, --key, --stdin, --list and --revoke is required')
  }
  return { type: 'add', sources, expiresMs: expires, authority: ca ? { principals } : undefined }
}

// The parts of an API page: which source files belong together, in the order in which a reader
// wants them.

import { type ApiEntry, type ApiExport, sourceFolder } from './api.ts'

/** Exports under a heading. */
export interface Topic {
  readonly title: string
  readonly exports: readonly ApiExport[]
}

/** Paths below a package's `src/`, with the package before them; the first that fits counts. */
const topics: readonly (readonly [string, RegExp])[] = [
  [
    'Sandboxes',
    /^sandbox-bridge:(?:sandbox|ssh-ops|ssh-client|sftp-client|native-session|settings)\.ts$/,
  ],
  [
    'Client',
    /:(?:client(?!-channels).*|process|run|auth-methods|host-keys|remote-file-system)\.ts$/,
  ],
  ['Server', /:(?:(?:ssh-)?server.*|serve-guest)\.ts$|:server\//],
  ['Channels', /:(?:channel|terminal-modes|splice|link)\.ts$/],
  ['Copies of files and trees', /:(?:tree|transfer)\.ts$/],
  ['scp', /:scp/],
  ['File systems', /file-system\.ts$|:(?:resolve|path)\.ts$/],
  ['Forwards', /:forwards\//],
  ['Terminals', /:terminal\//],
  ['Home, keys and configuration', /:home\//],
  ['Ways to an agent', /:(?:carriers|relay)\//],
  [
    'Agent of a guest',
    /^sandbox-bridge:(?:agent\/(?:client|error|signals)|guest.*|environment)\.ts$/,
  ],
  ['Transports', /:io\//],
  ['Keys and certificates', /:keys\//],
  ['SSH agents', /^protocol:agent\//],
  ['Algorithms', /:(?:algorithms\/|transport\/)/],
  ['Cryptography', /:crypto\//],
  ['Errors', /:(?:errors|status)\.ts$/],
  ['Wire format', /:(?:wire\/|connection\/|machine\/)/],
]

/** The exports of an entry by topic. */
export function topicsOf(entry: ApiEntry): Topic[] {
  const folder = sourceFolder(entry)
  const packageName = folder.split('/')[1] ?? ''
  const titleOf = ({ file }: ApiExport): string =>
    topics.find(([, pattern]) =>
      pattern.test(`${packageName}:${file.slice(folder.length + 1)}`),
    )?.[0] ?? 'More'
  return [...topics.map(([title]) => title), 'More']
    .map((title) => ({
      title,
      exports: entry.exports.filter((each) => titleOf(each) === title).sort(callableFirst),
    }))
    .filter(({ exports }) => exports.length > 0)
}

/** What is called comes before what is only a type; sorting keeps the order otherwise. */
function callableFirst(a: ApiExport, b: ApiExport): number {
  const rank = ({ kind }: ApiExport): number => (kind === 'interface' || kind === 'type' ? 1 : 0)
  return rank(a) - rank(b)
}

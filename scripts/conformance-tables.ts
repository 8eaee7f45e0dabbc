// The tables of conformance/README.md: algorithms by peer, then each peer's other trials, then what
// OpenSSH's clients do with the built command and with sshd.

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { areaOf, type Role } from '../conformance/feature.ts'
import type { Result } from '../conformance/results.ts'
import { root } from './bundle.mjs'

/** Areas whose rows are names of algorithms: one table each, with the peers as columns. */
const families = [
  'key exchange',
  'ciphers',
  'MACs',
  'compression',
  'host keys',
  'user keys',
] as const

/** Areas of what else every peer is tried with: tables of the same kind, without what only one does. */
const abilities = ['working', 'proofs', 'forwards', 'agents', 'strict key exchange'] as const

/** A result of a peer's, taken apart. */
interface Row extends Result {
  readonly role: Role
  /** The area without its beginning. */
  readonly topic: string
}

/** Peers in the order in which they are shown; others come behind. */
const order = ['OpenSSH', 'dropbear', 'PuTTY', 'paramiko', 'asyncssh', 'libssh', 'curl', 'ssh2']

/** All tables, as Markdown. */
export function tablesOf(results: readonly Result[]): string {
  const rows = results.flatMap(rowOf)
  const absent = results.filter(({ name, untried }) => name === '' && untried !== undefined)
  const names = new Set([...rows, ...absent].map(({ target }) => target))
  const rank = (peer: string): number =>
    (order.indexOf(peer) + order.length + 1) % (order.length + 1)
  const peers = [...names].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1))
  const present = peers.filter((peer) => rows.some(({ target }) => target === peer))
  return [
    '## Other implementations\n',
    overview(rows, absent, peers),
    '## Algorithms with other implementations\n',
    'One at a time, with data that comes back: ⇄ their client with our server and our client with ' +
      'their server, → their client only, ← their server only, ✗ failed; a number refers to the ' +
      'notes below. Where a cell is empty the peer does not have it: it proposes it neither in its ' +
      'KEXINIT nor, among certificates, knows such at all, as the rows about them below say.\n',
    ...families.map((family) => matrix(family, rows, present)),
    '## What else other implementations are tried with\n',
    'The same marks; a number says why a peer is not tried, in one role or both. SOCKS (-D) and ' +
      'logging in with an agent are matters of clients alone. Of the rows about strict key exchange ' +
      'the first is for peers that have it, the others are for those that do not.\n',
    ...abilities.map((topic) => matrix(topic, rows.filter(isShared(rows)), present)),
    '## What only one of them is tried with\n',
    ...present.map((peer) => section(peer, rows)),
    '## The built command, beside sshd\n',
    ...others(results, true),
    '## SFTP\n',
    ...others(results, false),
  ].join('\n')
}

function rowOf(result: Result): readonly Row[] {
  for (const role of ['client', 'server'] as const) {
    const head = `${areaOf[role]}: `
    if (result.area.startsWith(head)) {
      return [{ ...result, role, topic: result.area.slice(head.length) }]
    }
  }
  return []
}

function table(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), `|${'---|'.repeat(head.length)}`, ...lines.map(line), ''].join('\n')
}

/** How much of each peer passed, and which are not there. */
function overview(
  rows: readonly Row[],
  absent: readonly Result[],
  peers: readonly string[],
): string {
  const count = (peer: string, role: Role): string => {
    const own = rows.filter((row) => row.target === peer && row.role === role)
    const tried = own.filter(({ untried }) => untried === undefined)
    if (tried.length > 0) return `${tried.filter(({ passed }) => passed).length} of ${tried.length}`
    return absent.find(({ target }) => target === peer)?.untried ?? '–'
  }
  return table(
    ['trials passed', 'its client with our server', 'its server with our client'],
    peers.map((peer) => [peer, count(peer, 'client'), count(peer, 'server')]),
  )
}

/** Whether several peers are tried with the same, or say why not. */
function isShared(rows: readonly Row[]): (row: Row) => boolean {
  const peers = new Map<string, Set<string>>()
  const key = ({ topic, name }: Row): string => `${topic}: ${name}`
  for (const row of rows) {
    const known = peers.get(key(row)) ?? new Set()
    peers.set(key(row), known.add(row.target))
  }
  return (row) => (peers.get(key(row))?.size ?? 0) > 1
}

/** One family: a line an algorithm, a column a peer. */
function matrix(family: string, rows: readonly Row[], peers: readonly string[]): string {
  const own = rows.filter(({ topic }) => topic === family)
  if (own.length === 0) return ''
  const names = [...new Set(own.map(({ name }) => name))]
  const isAlgorithm = families.includes(family as (typeof families)[number])
  const notes: string[] = []
  const cell = (name: string, peer: string): string => {
    const found = own.filter((row) => row.name === name && row.target === peer)
    const why = (role: Role): string | undefined => found.find((row) => row.role === role)?.untried
    const [client, server] = [why('client'), why('server')]
    const texts =
      client === server && client !== undefined
        ? [`${peer}: ${client}`]
        : [
            ...(client === undefined ? [] : [`the client of ${peer}: ${client}`]),
            ...(server === undefined ? [] : [`the server of ${peer}: ${server}`]),
          ]
    const numbers = texts.map((text) => {
      if (!notes.includes(text)) notes.push(text)
      return ` ${notes.indexOf(text) + 1}`
    })
    const tried = found.filter(({ untried }) => untried === undefined)
    if (tried.some(({ passed }) => !passed)) return '✗'
    const roles = new Set(tried.map(({ role }) => role))
    const mark = roles.size === 2 ? '⇄' : roles.has('client') ? '→' : roles.has('server') ? '←' : ''
    return `${mark}${[...new Set(numbers)].join('')}`.trim()
  }
  return [
    `### ${family[0]?.toUpperCase()}${family.slice(1)}\n`,
    table(
      ['', ...peers],
      names.map((name) => [
        isAlgorithm ? `\`${name}\`` : name,
        ...peers.map((peer) => cell(name, peer)),
      ]),
    ),
    ...(notes.length === 0
      ? []
      : [`${notes.map((note, at) => `${at + 1}. ${note}`).join('\n')}\n`]),
  ].join('\n')
}

/** What else was tried with one peer. */
function section(peer: string, rows: readonly Row[]): string {
  const common = isShared(rows)
  const own = rows.filter(
    (row) =>
      row.target === peer &&
      !families.includes(row.topic as (typeof families)[number]) &&
      !(abilities.includes(row.topic as (typeof abilities)[number]) && common(row)),
  )
  if (own.length === 0) return ''
  const topics = [...new Set(own.map(({ topic }) => topic))]
  const notes: string[] = []
  const cell = (topic: string, name: string, role: Role): string => {
    const found = own.find((row) => row.topic === topic && row.name === name && row.role === role)
    if (found === undefined) return ''
    if (found.untried === undefined) return found.passed ? '✓' : '✗'
    if (!notes.includes(found.untried)) notes.push(found.untried)
    return `not tried (${notes.indexOf(found.untried) + 1})`
  }
  const lines = topics.flatMap((topic) => [
    [`**${topic}**`, '', ''],
    ...[...new Set(own.filter((row) => row.topic === topic).map(({ name }) => name))].map(
      (name) => [name, cell(topic, name, 'client'), cell(topic, name, 'server')],
    ),
  ])
  return [
    `### ${peer}\n`,
    table(['', 'its client, our server', 'its server, our client'], lines),
    ...(notes.length === 0
      ? []
      : [`${notes.map((note, at) => `${at + 1}. ${note}`).join('\n')}\n`]),
  ].join('\n')
}

/** Areas that are not about one peer's two roles: a column a server, or a client of ours. */
function others(results: readonly Result[], besideSshd: boolean): readonly string[] {
  const rest = results.filter((result) => rowOf(result).length === 0 && result.name !== '')
  const areas = [...new Set(rest.map(({ area }) => area))].sort()
  return areas.flatMap((area) => {
    const own = rest.filter((result) => result.area === area)
    const all = [...new Set(own.map(({ target }) => target))].sort()
    if (all.includes('msb') !== besideSshd) return []
    const targets = besideSshd ? ['msb', 'sshd'] : all
    const cell = (name: string, target: string): string => {
      const found = own.find((result) => result.name === name && result.target === target)
      if (found === undefined || found.untried !== undefined) return '–'
      return found.passed ? '✓' : '✗'
    }
    const names = [...new Set(own.map(({ name }) => name))]
    const lines = names.map((name) => [name, ...targets.map((target) => cell(name, target))])
    const reasons = targets.flatMap((target) => dashes(target, own))
    return [`### ${area}\n\n${table(['', ...targets], lines)}`, ...reasons].join('\n')
  })
}

/** Why a column has dashes: a line for each reason. */
function dashes(target: string, results: readonly Result[]): readonly string[] {
  const byReason = new Map<string, string[]>()
  for (const result of results) {
    if (result.target !== target || result.untried === undefined) continue
    byReason.set(result.untried, [...(byReason.get(result.untried) ?? []), result.name])
  }
  return [...byReason].map(([reason, names]) => `- ${target}, ${names.join('; ')}: ${reason}`)
}

/** What ran: the peers that are there and the runtime, with versions. */
export function versions(): string {
  const first = (command: string, args: readonly string[], pattern: RegExp): string | undefined => {
    const { stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
    return pattern.exec(`${stdout ?? ''}${stderr ?? ''}`)?.[1]
  }
  const python = (name: string): string | undefined =>
    first('/usr/bin/python3', ['-c', `import ${name}; print(${name}.__version__)`], /^(\d\S*)/)
  const npm = (name: string): string => {
    const text = readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')
    return (JSON.parse(text) as { readonly version: string }).version
  }
  const found: readonly (readonly [string, string | undefined])[] = [
    ['OpenSSH', first('ssh', ['-V'], /OpenSSH_([^,]+)/)],
    ['dropbear', first('dbclient', ['-V'], /v(\S+)/)],
    ['PuTTY', first('plink', ['-V'], /Release (\S+)/)],
    ['paramiko', python('paramiko')],
    ['AsyncSSH', python('asyncssh')],
    ['curl', first('curl', ['--version'], /^curl (\S+)/)],
    ['libssh2', first('curl', ['--version'], /libssh2\/(\S+)/)],
    ['rsync', first('rsync', ['--version'], /version (\S+)/)],
    ['lftp', first('lftp', ['--version'], /Version (\S+)/)],
    ['rclone', first('rclone', ['version'], /rclone v(\S+)/)],
    ['ssh2', npm('ssh2')],
    ['dev-tunnels-ssh', npm('@microsoft/dev-tunnels-ssh')],
    ['russh', npm('russh')],
  ]
  const list = found.flatMap(([name, version]) =>
    version === undefined ? [] : `${name} ${version}`,
  )
  const date = new Date().toISOString().slice(0, 10)
  return `${date}, Node ${process.versions.node}; ${list.join(', ')}.\n`
}

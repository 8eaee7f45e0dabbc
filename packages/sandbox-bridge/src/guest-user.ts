/** Who a login is inside: the guest's own user table decides. */
import { type AgentClient, READ_BYTES_MAX } from './agent/client.ts'
import { AgentError } from './agent/error.ts'
import type { ReadyUser } from './agent/messages.ts'
import type { SessionSettings } from './settings.ts'

/**
 * The login names nobody in the guest.
 *
 * @example
 * import { GuestConnection, GuestUserError, sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * const guest = new GuestConnection(() => sandbox('local:devbox').connectAgent())
 * const error = await guest.user('nobody-of-that-name').catch((caught: unknown) => caught)
 * console.log(error instanceof GuestUserError) // true
 * await guest.close()
 */
export class GuestUserError extends Error {
  override readonly name = 'GuestUserError'
}

/** A user to the file system. */
export interface Owner {
  readonly uid: number
  readonly gid: number
  /** All his groups, `gid` among them. */
  readonly groups: ReadonlySet<number>
}

/** A user of the guest, as sessions need him. */
export interface GuestUser {
  /** What the agent is told; undefined for its own user. */
  readonly agentUser: string | undefined
  /** Name for USER and LOGNAME. */
  readonly name: string
  /** His ids; undefined if he is the agent's own user anyway, or root. */
  readonly owner: Owner | undefined
  /** HOME; undefined leaves it to the agent. */
  readonly home: string | undefined
  /** Absolute path of the shell to use. */
  readonly shell: string
  /** Where sessions start: a directory that exists; undefined leaves it to the agent. */
  readonly directory: string | undefined
}

/** One line of `/etc/passwd`. */
export interface PasswdEntry {
  readonly name: string
  readonly uid: number
  readonly gid: number
  readonly home: string
  readonly shell: string
}

/** Larger tables are cut off: some fifty thousand users. */
const TABLE_BYTES_MAX = 4 * 1024 * 1024
const DEFAULT_SHELL = '/bin/sh'
/** Shells that keep their user out. Who may enter is the key's matter, not the table's. */
const NO_SHELL = /\/(nologin|false|true|sync|halt|shutdown)$/

/**
 * Finds the user `login` (`USER[:GROUP]`, names or numbers) as the agent would: an unknown number
 * is taken as it is, an unknown name is an error.
 * @throws GuestUserError, AgentError
 */
export async function resolveUser(
  agent: AgentClient,
  login: string,
  settings: SessionSettings,
): Promise<GuestUser> {
  const [userPart = '', groupPart] = splitLogin(login)
  if (agent.generation < 2) {
    const shell = settings.shell ?? DEFAULT_SHELL
    const name = userPart
    const directory = settings.workdir
    return { agentUser: login, name, owner: undefined, home: undefined, shell, directory }
  }
  const users = parsePasswd(await readTable(agent, '/etc/passwd'))
  const own = agent.ready.user
  const isBound = own !== undefined && own.uid !== 0
  const entry = isBound ? boundUser(users, own, userPart) : findUser(users, userPart)
  const owner = isBound || entry.uid === 0 ? undefined : await ownerOf(agent, entry, groupPart)
  // What the guest says of its own home outranks the table, which may describe another world.
  const home = own?.uid === entry.uid ? own.home : entry.home
  const wanted = settings.shell ?? (NO_SHELL.test(entry.shell) ? DEFAULT_SHELL : entry.shell)
  const start = settings.workdir ?? home
  const [hasShell, hasStart] = await Promise.all([
    wanted === DEFAULT_SHELL || settings.shell !== undefined || exists(agent, wanted, 'file'),
    exists(agent, start, 'dir'),
  ])
  return {
    agentUser: isBound ? undefined : login,
    name: entry.name,
    owner,
    home,
    shell: hasShell ? wanted : DEFAULT_SHELL,
    directory: hasStart ? start : '/',
  }
}

/**
 * A table such as `/etc/passwd` as text; empty if the guest has none.
 * @throws AgentError
 */
export async function readTable(agent: AgentClient, path: string): Promise<string> {
  const options = {
    read: true,
    write: false,
    append: false,
    create: false,
    truncate: false,
    create_new: false,
  }
  let handle: number
  try {
    handle = await agent.fs('OpenFile', { path, options })
  } catch (error) {
    if (error instanceof AgentError && error.kind === 'fs') return ''
    throw error
  }
  try {
    const decoder = new TextDecoder()
    let text = ''
    for (let at = 0; at < TABLE_BYTES_MAX; ) {
      const chunk = await agent.fsRead(handle, at, READ_BYTES_MAX)
      at += chunk.length
      text += decoder.decode(chunk, { stream: true })
      if (chunk.length < READ_BYTES_MAX) break
    }
    return text + decoder.decode()
  } finally {
    await agent.fs('CloseHandle', { handle })
  }
}

/** The entries of a passwd file; malformed lines are left out, as libc does. */
export function parsePasswd(text: string): readonly PasswdEntry[] {
  return text.split('\n').flatMap((line) => {
    const [name = '', , uid = '', gid = '', , home = '', shell = ''] = line.split(':')
    if (name === '' || !isId(uid) || !isId(gid)) return []
    return [
      {
        name,
        uid: Number(uid),
        gid: Number(gid),
        home: home.startsWith('/') ? home : '/',
        shell: shell.startsWith('/') ? shell : DEFAULT_SHELL,
      },
    ]
  })
}

/** One line of `/etc/group`. */
export interface GroupEntry {
  readonly name: string
  readonly gid: number
  readonly members: readonly string[]
}

/** The entries of a group file; malformed lines are left out. */
export function parseGroups(text: string): readonly GroupEntry[] {
  return text.split('\n').flatMap((line) => {
    const [name = '', , gid = '', members = ''] = line.split(':')
    return name === '' || !isId(gid)
      ? []
      : [{ name, gid: Number(gid), members: members.split(',') }]
  })
}

function splitLogin(login: string): readonly string[] {
  const colon = login.indexOf(':')
  return colon < 0 ? [login] : [login.slice(0, colon), login.slice(colon + 1)]
}

function findUser(users: readonly PasswdEntry[], wanted: string): PasswdEntry {
  const named = users.find(({ name }) => name === wanted)
  if (named !== undefined) return named
  if (!isId(wanted)) throw new GuestUserError(`no user ${quoted(wanted)} in the sandbox`)
  const uid = Number(wanted)
  const numbered = users.find((user) => user.uid === uid)
  return numbered ?? { name: wanted, uid, gid: 0, home: '/', shell: DEFAULT_SHELL }
}

/** In a guest that is not root: its own user, under the name of root too, and nobody else. */
function boundUser(users: readonly PasswdEntry[], own: ReadyUser, wanted: string): PasswdEntry {
  const { uid, gid, home } = own
  const known = users.find((user) => user.uid === uid)
  const names = ['root', '0', String(uid), ...(known === undefined ? [] : [known.name])]
  if (!names.includes(wanted)) {
    const name = known?.name ?? String(uid)
    throw new GuestUserError(`no user ${quoted(wanted)} in the sandbox, which is all ${name}'s`)
  }
  return known ?? { name: String(uid), uid, gid, home, shell: DEFAULT_SHELL }
}

/** As the agent has it: a group that is asked for stands alone. */
async function ownerOf(
  agent: AgentClient,
  { name, uid, gid }: PasswdEntry,
  groupPart: string | undefined,
): Promise<Owner> {
  const groups = parseGroups(await readTable(agent, '/etc/group'))
  if (groupPart === undefined) {
    const more = groups.filter(({ members }) => members.includes(name))
    return { uid, gid, groups: new Set([gid, ...more.map((group) => group.gid)]) }
  }
  const named = groups.find((group) => group.name === groupPart)?.gid
  const wanted = named ?? (isId(groupPart) ? Number(groupPart) : undefined)
  if (wanted === undefined) throw new GuestUserError(`no group ${quoted(groupPart)} in the sandbox`)
  return { uid, gid: wanted, groups: new Set([wanted]) }
}

async function exists(agent: AgentClient, path: string, kind: 'file' | 'dir'): Promise<boolean> {
  try {
    return (await agent.fs('Stat', { path, follow_symlink: true })).kind === kind
  } catch (error) {
    if (error instanceof AgentError && error.kind === 'fs') return false
    throw error
  }
}

function isId(text: string): boolean {
  return /^\d{1,10}$/.test(text) && Number(text) <= 0xffff_ffff
}

/** A login in a message: it came from outside and goes to terminals. */
function quoted(text: string): string {
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text)
}

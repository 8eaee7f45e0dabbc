/** Who a program runs as: the guest's passwd and group files. */
import { readFileSync } from 'node:fs'

/** A resolved user. */
export interface User {
  readonly uid: number
  readonly gid: number
  /** Home directory; `/` for a number that passwd does not know. */
  readonly home: string
  /** Supplementary groups, the primary one among them. */
  readonly groups: readonly number[]
}

/** A name that the guest does not know; the message is what the agent says. */
export class UnknownUser extends Error {
  override readonly name = 'UnknownUser'
}

interface PasswdLine {
  readonly name: string
  readonly uid: number
  readonly gid: number
  readonly home: string
}

/**
 * Resolves `USER[:GROUP]`, names or decimal numbers. Unknown numbers are taken as they are.
 * @param ownGid Group of an unknown number, the agent's own.
 * @throws UnknownUser
 */
export function resolveUser(text: string, ownGid: number): User {
  const [userText = '', groupText] = splitOnce(text)
  const known = passwd().find(({ name, uid }) => name === userText || String(uid) === userText)
  const number = decimal(userText)
  if (known === undefined && number === undefined) {
    throw new UnknownUser(`guest user not found: ${userText}`)
  }
  const groups = groupText === undefined || groupText === '' ? undefined : resolveGroup(groupText)
  const gid = groups ?? known?.gid ?? ownGid
  return {
    uid: known?.uid ?? number ?? 0,
    gid,
    home: known?.home ?? '/',
    groups: known === undefined || groups !== undefined ? [gid] : groupsOf(known),
  }
}

/**
 * That a user namespace has these ids at all: one of an ordinary user of the host has but one.
 * @throws UnknownUser
 */
export function checkMapped(text: string, { uid, gid }: User): void {
  if (isMapped('/proc/self/uid_map', uid) && isMapped('/proc/self/gid_map', gid)) return
  throw new UnknownUser(`guest user not available: ${text}: there is no user ${uid} in here`)
}

/** A table that cannot be read forbids nothing; the kernel does. */
function isMapped(table: string, id: number): boolean {
  let text: string
  try {
    text = readFileSync(table, 'utf8')
  } catch {
    return true
  }
  return text.split('\n').some((line) => {
    const [first, , count] = line.trim().split(/\s+/).map(Number)
    return first !== undefined && count !== undefined && id >= first && id < first + count
  })
}

/** The home of a user id in passwd. */
export function homeOf(uid: number): string | undefined {
  return passwd().find((line) => line.uid === uid)?.home
}

function resolveGroup(text: string): number {
  const known = groupLines().find(({ name, gid }) => name === text || String(gid) === text)
  const gid = known?.gid ?? decimal(text)
  if (gid === undefined) throw new UnknownUser(`guest group not found: ${text}`)
  return gid
}

function groupsOf(user: PasswdLine): readonly number[] {
  const more = groupLines()
    .filter(({ members, gid }) => members.includes(user.name) && gid !== user.gid)
    .map(({ gid }) => gid)
  return [user.gid, ...more]
}

function passwd(): PasswdLine[] {
  return colonLines('/etc/passwd').flatMap(([name = '', , uid = '', gid = '', , home = '']) => {
    const numbers = { uid: decimal(uid), gid: decimal(gid) }
    if (name === '' || numbers.uid === undefined || numbers.gid === undefined) return []
    return [{ name, uid: numbers.uid, gid: numbers.gid, home: home === '' ? '/' : home }]
  })
}

function groupLines(): { name: string; gid: number; members: readonly string[] }[] {
  return colonLines('/etc/group').flatMap(([name = '', , gid = '', members = '']) => {
    const number = decimal(gid)
    return name === '' || number === undefined
      ? []
      : [{ name, gid: number, members: members.split(',') }]
  })
}

/** A guest may have no such file at all; then it knows nobody. */
function colonLines(path: string): string[][] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .map((line) => line.split(':'))
  } catch {
    return []
  }
}

function splitOnce(text: string): [string, string | undefined] {
  const at = text.indexOf(':')
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)]
}

/** A user or group number; the largest one means "unchanged" to the kernel and is no user. */
function decimal(text: string): number | undefined {
  if (!/^\d{1,10}$/.test(text)) return undefined
  const number = Number(text)
  return number < 0xffff_ffff ? number : undefined
}

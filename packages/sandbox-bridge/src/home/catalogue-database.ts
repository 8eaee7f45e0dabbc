/**
 * microsandbox's catalogue of sandboxes: only read, never repaired. What it says of a sandbox that
 * does not run, and how its sessions are to be set up.
 */
import { existsSync, readFileSync } from 'node:fs'
import { isAbsolute, join, resolve } from 'node:path'
import type { SessionSettings } from '../settings.ts'
import { errnoOf, reasonOf } from './errors.ts'
import type { Home } from './home.ts'
import { openDatabase } from './sqlite.ts'

/** Whether a sandbox runs, as far as the catalogue and the process table tell. */
export type SandboxState =
  | { readonly kind: 'running'; readonly pid: number }
  /** Running, but its process is not known yet. */
  | { readonly kind: 'starting' }
  /** Stopped or Crashed. */
  | { readonly kind: 'stopped' }
  /** The catalogue says it runs, but its process is gone. */
  | { readonly kind: 'dead'; readonly pid: number }
  /** Created, Paused, or what a newer microsandbox may say. */
  | { readonly kind: 'other'; readonly status: string }

/** One sandbox of the catalogue. */
export interface CatalogueEntry {
  readonly state: SandboxState
  /** The desired configuration, which is what microsandbox's own SSH goes by. */
  readonly settings: SessionSettings
  /** `runtime.user`. */
  readonly user: string | undefined
}

/** What the catalogue says of a name. */
export type CatalogueAnswer =
  | { readonly kind: 'found'; readonly entry: CatalogueEntry }
  /** There is a catalogue, and no such sandbox in it. */
  | { readonly kind: 'unknown' }
  /** No catalogue, none that can be read, or no SQLite in this runtime. */
  | { readonly kind: 'unreadable'; readonly why: string }

/** Larger configurations are not looked into; real ones are some KiB. */
const CONFIG_CHARS_MAX = 1024 * 1024

/** Looks a name up. Never throws: without a catalogue everything has defaults. */
export function readCatalogue(home: Home, name: string): CatalogueAnswer {
  const path = cataloguePath(home)
  if (path === undefined) return unreadable(`${home.config.databaseUrl} is not an SQLite file`)
  if (!existsSync(path)) return unreadable(`there is no ${path}`)
  try {
    const database = openDatabase(path)
    if (database === undefined) return unreadable('this runtime has no SQLite')
    try {
      const row = database.get('SELECT id, config, status FROM sandbox WHERE name = ?', name)
      if (row === undefined) return { kind: 'unknown' }
      const run = database.get(
        'SELECT pid, status FROM run WHERE sandbox_id = ? ORDER BY id DESC LIMIT 1',
        numberOf(row.get('id')) ?? -1,
      )
      const state = stateOf(textOf(row.get('status')) ?? '', run)
      return { kind: 'found', entry: { state, ...configured(textOf(row.get('config'))) } }
    } finally {
      database.close()
    }
  } catch (error) {
    return unreadable(`${path}: ${reasonOf(error)}`)
  }
}

/** `<home>/db/msb.db`, or where `database.url` points; undefined if that is no file. */
export function cataloguePath(home: Home): string | undefined {
  const url = home.config.databaseUrl
  if (url === undefined) return join(home.path, 'db', 'msb.db')
  const match = /^(?:sqlite:(?:\/\/)?)?([^?]+)/.exec(url)
  const path = match?.[1]
  if (path === undefined || path === ':memory:' || /^[a-z][a-z0-9+.-]+:\/\//i.test(path)) {
    return undefined
  }
  return isAbsolute(path) ? path : resolve(home.path, path)
}

/** True if the process exists and is not a zombie, which nobody can talk to. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    // Somebody else's process is alive too.
    if (errnoOf(error) !== 'EPERM') return false
  }
  try {
    // `PID (NAME) STATE …`, where NAME may hold anything, parentheses too.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2))
  } catch {
    // No /proc, or gone this very moment; the next step will tell.
    return true
  }
}

function stateOf(status: string, run: ReadonlyMap<string, unknown> | undefined): SandboxState {
  switch (status) {
    case 'Running':
    case 'Draining': {
      if (run === undefined) return { kind: 'starting' }
      const pid = numberOf(run.get('pid'))
      if (pid === undefined || textOf(run.get('status')) !== 'Running') return { kind: 'stopped' }
      return isAlive(pid) ? { kind: 'running', pid } : { kind: 'dead', pid }
    }
    case 'Starting':
      return { kind: 'starting' }
    case 'Stopped':
    case 'Crashed':
      return { kind: 'stopped' }
    default:
      return { kind: 'other', status }
  }
}

/** What of the configuration concerns sessions. What is not as it should be counts as absent. */
function configured(json: string | undefined): Pick<CatalogueEntry, 'settings' | 'user'> {
  const config = fieldsOf(json)
  const runtime = fieldsOf(config.get('runtime'))
  const absolute = (key: string): string | undefined => {
    const path = cleanText(runtime.get(key))
    return path?.startsWith('/') ? path : undefined
  }
  return {
    settings: {
      shell: absolute('shell'),
      workdir: absolute('workdir'),
      env: environmentOf(config.get('env')),
    },
    user: cleanText(runtime.get('user')),
  }
}

function environmentOf(list: unknown): Record<string, string> | undefined {
  if (!Array.isArray(list)) return undefined
  const entries = list.flatMap((item: unknown) => {
    const fields = fieldsOf(item)
    const key = textOf(fields.get('key'))
    const value = textOf(fields.get('value'))
    if (key === undefined || !/^[^=\0]+$/.test(key)) return []
    return value === undefined || value.includes('\0') ? [] : [[key, value] as const]
  })
  return entries.length === 0 ? undefined : Object.fromEntries(entries)
}

function fieldsOf(value: unknown): ReadonlyMap<string, unknown> {
  let object = value
  if (typeof value === 'string') {
    if (value.length > CONFIG_CHARS_MAX) return new Map()
    try {
      object = JSON.parse(value)
    } catch {
      return new Map()
    }
  }
  return typeof object === 'object' && object !== null ? new Map(Object.entries(object)) : new Map()
}

/** A text that may go into a request: not blank, no control characters. */
function cleanText(value: unknown): string | undefined {
  const text = textOf(value)?.trim()
  return text === undefined || text === '' || /\p{Cc}/u.test(text) ? undefined : text
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function numberOf(value: unknown): number | undefined {
  const number = typeof value === 'bigint' ? Number(value) : value
  return typeof number === 'number' && Number.isSafeInteger(number) && number > 0
    ? number
    : undefined
}

function unreadable(why: string): CatalogueAnswer {
  return { kind: 'unreadable', why }
}

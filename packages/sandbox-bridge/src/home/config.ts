/** `config.json`: the few keys that concern us, each checked; the rest is microsandbox's. */
import { errnoOf, reasonOf, SandboxError } from './errors.ts'
import { readBoundedFile } from './files.ts'

/** Larger files are refused; real ones are under 10 KiB. */
export const CONFIG_BYTES_MAX: number = 1024 * 1024

/** Seconds of silence after which a client from outside is sent away, if nothing is said of it. */
export const INACTIVITY_TIMEOUT_SECS: number = 600

/** The keys that concern us. */
export interface HomeConfig {
  /** `home`: moves MSB_HOME. */
  readonly home?: string
  /** `paths.sandboxes`. */
  readonly sandboxesPath?: string
  /** `database.url`: where microsandbox keeps its catalogue, as it writes it. */
  readonly databaseUrl?: string
  /** `ssh.inactivity_timeout_secs`; 0 means never. */
  readonly inactivityTimeoutSecs?: number
}

/**
 * Reads the file; a missing one is an empty one.
 * @throws SandboxError `CONFIG_INVALID` naming the file and the key
 */
export function readConfig(path: string): HomeConfig {
  const text = readText(path)
  if (text === undefined) return {}
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw invalid(path, `is not JSON: ${reasonOf(cause)}`, cause)
  }
  const root = record(path, 'the file', value)
  const paths = optionalRecord(path, 'paths', root.get('paths'))
  const ssh = optionalRecord(path, 'ssh', root.get('ssh'))
  const database = optionalRecord(path, 'database', root.get('database'))
  const home = optionalText(path, 'home', root.get('home'))
  const sandboxesPath = optionalText(path, 'paths.sandboxes', paths.get('sandboxes'))
  const databaseUrl = optionalText(path, 'database.url', database.get('url'))
  const inactivityTimeoutSecs = seconds(path, ssh.get('inactivity_timeout_secs'))
  return {
    ...(home === undefined ? {} : { home }),
    ...(sandboxesPath === undefined ? {} : { sandboxesPath }),
    ...(databaseUrl === undefined ? {} : { databaseUrl }),
    ...(inactivityTimeoutSecs === undefined ? {} : { inactivityTimeoutSecs }),
  }
}

function readText(path: string): string | undefined {
  try {
    return readBoundedFile(path, CONFIG_BYTES_MAX).text
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT' || errnoOf(cause) === 'ENOTDIR') return undefined
    throw invalid(path, `cannot be read: ${reasonOf(cause)}`, cause)
  }
}

function seconds(path: string, value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw invalid(path, 'ssh.inactivity_timeout_secs must be a whole number of seconds, 0 for never')
}

function optionalText(path: string, key: string, value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value === 'string' && value !== '') return value
  throw invalid(path, `${key} must be a non-empty string`)
}

function optionalRecord(path: string, key: string, value: unknown): Map<string, unknown> {
  return value === undefined || value === null ? new Map() : record(path, key, value)
}

/** A map, so that keys such as `__proto__` mean nothing. */
function record(path: string, key: string, value: unknown): Map<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(path, `${key} must be a JSON object`)
  }
  return new Map(Object.entries(value))
}

function invalid(path: string, why: string, cause?: unknown): SandboxError {
  return new SandboxError('CONFIG_INVALID', `configuration ${path} ${why}`, { cause })
}

/** The runtime's own SQLite, read-only; Node 20 has none. */
import { createRequire } from 'node:module'

/** An open database. */
export interface Database {
  /** The first row of a query, its columns by name, or undefined. Throws the runtime's errors. */
  get(
    sql: string,
    ...values: readonly (string | number)[]
  ): ReadonlyMap<string, unknown> | undefined
  close(): void
}

/** Longest wait for a writer that holds the database. */
const BUSY_MS = 2000

/** How the runtimes' modules look, as far as they are used. */
interface Statement {
  get(...values: readonly (string | number)[]): unknown
}
interface NativeDatabase {
  prepare(sql: string): Statement
  exec(sql: string): void
  close(): void
}
type DatabaseClass = new (path: string, options: Record<string, boolean>) => NativeDatabase

/**
 * Opens a file that exists, for reading alone; undefined if this runtime has no SQLite. Throws the
 * runtime's error if it is no database.
 */
export function openDatabase(path: string): Database | undefined {
  const isBun = 'Bun' in globalThis
  // What a module of the runtime exports under these names is what it says.
  const Native = (isBun ? loadFromBun() : loadFromNode()) as DatabaseClass | undefined
  if (Native === undefined) return undefined
  // Each runtime has its own spelling, and Bun refuses Node's.
  const database = new Native(path, isBun ? { readonly: true } : { readOnly: true })
  try {
    database.exec(`PRAGMA busy_timeout = ${BUSY_MS}`)
  } catch (error) {
    database.close()
    throw error
  }
  return {
    get: (sql, ...values) => {
      const row = database.prepare(sql).get(...values)
      return typeof row === 'object' && row !== null ? new Map(Object.entries(row)) : undefined
    },
    close: () => database.close(),
  }
}

function loadFromNode(): unknown {
  const { getBuiltinModule } = process as { getBuiltinModule?: (name: string) => unknown }
  // Node 22 calls it experimental, on everybody's terminal; nothing rare of it is used.
  const emitWarning = process.emitWarning
  process.emitWarning = () => undefined
  try {
    const loaded = getBuiltinModule?.call(process, 'node:sqlite')
    return exported(loaded, 'DatabaseSync')
  } finally {
    process.emitWarning = emitWarning
  }
}

function loadFromBun(): unknown {
  try {
    return exported(createRequire(import.meta.url)('bun:sqlite'), 'Database')
  } catch {
    return undefined
  }
}

function exported(module: unknown, name: string): unknown {
  return new Map(Object.entries(module ?? {})).get(name)
}

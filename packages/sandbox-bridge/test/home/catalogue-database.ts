// Catalogues as microsandbox makes them, where the runtime has an SQLite that can write.

import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { cataloguePath } from '../../src/home/catalogue-database.ts'
import type { Home } from '../../src/home/home.ts'

/** A sandbox to be in it. */
export interface CatalogueRow {
  readonly name: string
  /** Default `Stopped`. */
  readonly status?: string
  /** An object, or text that is none. */
  readonly config?: object | string
  /** Process id and status of each run, oldest first. */
  readonly runs?: readonly (readonly [number, string])[]
}

interface Writable {
  exec(sql: string): void
  prepare(sql: string): { run(...values: readonly (string | number)[]): unknown }
  close(): void
}

function sqlite(): (new (path: string) => Writable) | undefined {
  const { getBuiltinModule } = process as { getBuiltinModule?: (name: string) => unknown }
  const loaded = getBuiltinModule?.call(process, 'node:sqlite')
  // The runtime's class has these methods and more.
  return (loaded as { DatabaseSync?: new (path: string) => Writable } | undefined)?.DatabaseSync
}

/** True if this runtime can make catalogues. */
export function hasSqlite(): boolean {
  return sqlite() !== undefined
}

/** Makes the catalogue of a home, with the tables and the journal that microsandbox uses. */
export function makeCatalogue(home: Home, rows: readonly CatalogueRow[]): void {
  const path = cataloguePath(home)
  const Database = sqlite()
  if (path === undefined || Database === undefined) throw new Error('no catalogue can be made')
  mkdirSync(dirname(path), { recursive: true })
  const database = new Database(path)
  database.exec('PRAGMA journal_mode = WAL')
  database.exec(`CREATE TABLE sandbox (id INTEGER PRIMARY KEY, name TEXT UNIQUE, config TEXT,
    active_config TEXT, status TEXT, ephemeral INTEGER, created_at TEXT, updated_at TEXT)`)
  database.exec(`CREATE TABLE run (id INTEGER PRIMARY KEY, sandbox_id INTEGER, pid INTEGER,
    status TEXT, exit_code INTEGER, started_at TEXT, terminated_at TEXT)`)
  const insert = database.prepare('INSERT INTO sandbox (id, name, config, status) VALUES (?,?,?,?)')
  const insertRun = database.prepare('INSERT INTO run (sandbox_id, pid, status) VALUES (?,?,?)')
  rows.forEach(({ name, status = 'Stopped', config = {}, runs = [] }, index) => {
    const text = typeof config === 'string' ? config : JSON.stringify(config)
    insert.run(index + 1, name, text, status)
    for (const [pid, runStatus] of runs) insertRun.run(index + 1, pid, runStatus)
  })
  database.close()
}

/** Changes the status of a row and, with a process id, gives it a new run. */
export function changeCatalogue(home: Home, name: string, status: string, pid?: number): void {
  const path = cataloguePath(home)
  const Database = sqlite()
  if (path === undefined || Database === undefined) throw new Error('no catalogue can be changed')
  const database = new Database(path)
  database.prepare('UPDATE sandbox SET status = ? WHERE name = ?').run(status, name)
  if (pid !== undefined) {
    database
      .prepare(
        'INSERT INTO run (sandbox_id, pid, status) SELECT id, ?, ? FROM sandbox WHERE name = ?',
      )
      .run(pid, 'Running', name)
  }
  database.close()
}

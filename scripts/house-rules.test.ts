// Each house rule must fire on a breach and keep quiet about the same thing done right.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { complaints } from './house-rules.ts'

/** Complaints about one file, with an entry that reaches it so that it is not dead. */
function about(path: string, text: string): readonly string[] {
  const user = { path: 'scripts/user.test.ts', text: `// Uses it.\nimport '../${path}'\n` }
  return complaints([{ path, text }, user], ['/srv/checkout'])
}

const fine = '// A header.\n'

test('a file begins with a comment', () => {
  assert.equal(about('scripts/a.ts', fine), [])
  assert.equal(about('scripts/a.ts', '#!/usr/bin/env node\n/** Header. */\n'), [])
  assert.equal(about('scripts/a.ts', 'export {}\n'), [
    'scripts/a.ts: does not begin with a comment',
  ])
})

test('packages import downwards only, and Node only where it is allowed', () => {
  const importing = (path: string, specifier: string): readonly string[] =>
    about(`packages/${path}`, `${fine}import { x } from '${specifier}'\n`)
  assert.equal(importing('sftp/src/a.ts', '@sandbox-ssh/protocol'), [])
  assert.equal(importing('protocol/src/a.ts', '@noble/hashes/sha2.js'), [])
  assert.equal(importing('sandbox-bridge/src/home/a.ts', 'node:fs'), [])
  assert.equal(importing('cli/src/a.ts', 'node:fs'), [])
  assert.is(importing('protocol/src/a.ts', '@sandbox-ssh/sftp').length, 1)
  assert.is(importing('protocol/src/a.ts', '../../sftp/src/path.ts').length, 1)
  assert.is(importing('protocol/src/a.ts', 'node:fs').length, 1)
  assert.is(importing('sandbox-bridge/src/session.ts', 'node:fs').length, 1)
  assert.is(importing('sftp/src/a.ts', 'left-pad').length, 1)
})

test('imports in comments, over several lines and at run time are read as what they are', () => {
  const path = 'packages/protocol/src/a.ts'
  assert.equal(about(path, `${fine}/**\n * import fs from 'node:fs'\n */\n`), [])
  assert.equal(about(path, `${fine}import {\n  type A,\n  b,\n} from 'node:fs'\n`), [
    `${path}:2: imports node:fs: Node's modules do not belong here`,
  ])
  assert.is(about(path, `${fine}const fs = await import('node:fs')\n`).length, 1)
  assert.is(about(path, `${fine}export * from 'node:fs'\n`).length, 1)
})

test('exports of packages are documented', () => {
  const path = 'packages/protocol/src/a.ts'
  assert.equal(about(path, `${fine}/** One. */\nexport const one = 1\n`), [])
  assert.equal(about(path, `${fine}export const one = 1\n`), [
    `${path}:2: export one has no doc comment`,
  ])
  const overloads = `${fine}/** F. */\nexport function f(): void\nexport function f(a?: 1): void\n`
  assert.equal(about(path, overloads), [])
  const message = `${fine}/** Ping. */\nexport interface Ping {}\n`
  assert.equal(about(path, `${message}\nexport const ping: Message<Ping> = 1\n`), [])
  assert.is(about(path, `${message}\nexport const ping: Message<Pong> = 1\n`).length, 1)
})

test('a file that nothing reaches is dead', () => {
  const dead = { path: 'packages/protocol/src/dead.ts', text: fine }
  assert.equal(complaints([dead], []), [`${dead.path}: nothing uses this file`])
  const manifest = {
    path: 'packages/protocol/package.json',
    text: '{ "exports": { ".": { "@sandbox-ssh/source": "./src/dead.ts" } } }',
  }
  assert.equal(complaints([dead, manifest], []), [])
})

test('machine paths, registry hosts, open ends and stray .only are found', () => {
  assert.is(about('scripts/a.ts', `${fine}const a = '/srv/checkout/x'\n`).length, 1)
  assert.is(
    about('scripts/a.ts', `${fine}const a = '${['registry', 'x', 'org'].join('.')}'\n`).length,
    1,
  )
  assert.is(about('scripts/a.ts', `${fine}// ${'TO'}DO later\n`).length, 1)
  assert.equal(about('scripts/a.ts', `${fine}// ${'TO'}DO(#12) later\n`), [])
  const only = { path: 'scripts/a.test.ts', text: `${fine}test.only('x', () => {})\n` }
  assert.equal(complaints([only], []), ['scripts/a.test.ts:2: stray .only'])
})

test('dependencies are allowed ones, pinned', () => {
  const path = 'packages/sftp/package.json'
  const manifest = (dependencies: object): readonly string[] =>
    complaints([{ path, text: JSON.stringify({ dependencies }) }], [])
  assert.equal(manifest({ '@sandbox-ssh/protocol': '0.1.0' }), [])
  assert.is(manifest({ '@sandbox-ssh/protocol': '^0.1.0' }).length, 1)
  assert.is(manifest({ 'left-pad': '1.0.0' }).length, 1)
})

test.run()

/** Resolving MSB_HOME and reading `config.json`. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SandboxError } from '../../src/home/errors.ts'
import { openHome } from '../../src/home/home.ts'
import { findRelaySockets, nameHash, relaySocketPaths } from '../../src/home/sockets.ts'
import { temporaryDirectory, temporaryHome } from './temporary.ts'

function refusedConfig(text: string, message: RegExp): void {
  const path = temporaryDirectory()
  writeFileSync(join(path, 'config.json'), text)
  assert.throws(
    () => openHome({ path, env: {} }),
    (error: unknown) =>
      error instanceof SandboxError &&
      error.code === 'CONFIG_INVALID' &&
      error.message.includes(join(path, 'config.json')) &&
      message.test(error.message),
    `${text} must be refused with ${message}`,
  )
}

test('MSB_HOME wins over HOME, and neither gives a directory here', () => {
  assert.is(openHome({ env: { MSB_HOME: '/a/b', HOME: '/h' } }).path, '/a/b')
  assert.is(openHome({ env: { HOME: '/h' } }).path, '/h/.microsandbox')
  assert.is(openHome({ env: { MSB_HOME: '', HOME: '/h' } }).path, '/h/.microsandbox')
})

test('the configuration moves the home and the sandboxes', () => {
  const path = temporaryDirectory()
  const config = { home: '/elsewhere', paths: { sandboxes: 'boxes' }, ssh: null, other: [1] }
  writeFileSync(join(path, 'config.json'), JSON.stringify(config))
  const home = openHome({ env: { MSB_HOME: path } })
  assert.is(home.path, '/elsewhere')
  assert.is(home.sandboxesPath, '/elsewhere/boxes')
  assert.is(home.authorizedKeysPath, '/elsewhere/ssh/authorized_keys')
  assert.is(home.config.inactivityTimeoutSecs, undefined)
  assert.is(openHome({ path, env: {} }).path, path)
})

test('MSB_CONFIG_PATH names another file', () => {
  const path = temporaryDirectory()
  const file = join(path, 'other.json')
  writeFileSync(file, '{"ssh":{"inactivity_timeout_secs":0}}')
  const home = openHome({ env: { MSB_HOME: path, MSB_CONFIG_PATH: file } })
  assert.is(home.config.inactivityTimeoutSecs, 0)
})

test('a configuration that cannot be understood is an error naming file and key', () => {
  refusedConfig('{', /is not JSON/)
  refusedConfig('[]', /the file must be a JSON object/)
  refusedConfig('{"paths":3}', /paths must be a JSON object/)
  refusedConfig('{"home":""}', /home must be a non-empty string/)
  refusedConfig('{"ssh":{"inactivity_timeout_secs":-1}}', /must be a whole number of seconds/)
  refusedConfig('{"ssh":{"inactivity_timeout_secs":"600"}}', /must be a whole number of seconds/)
  const path = temporaryDirectory()
  mkdirSync(join(path, 'config.json'))
  assert.throws(() => openHome({ path, env: {} }), /cannot be read: it is not a regular file/)
})

test('names are hashed as in the reference', () => {
  assert.is(nameHash('devbox', 12), '2ff8ddd61f5e0a0c72ad9390')
  assert.is(nameHash('worker', 16), '87eba76e7f3164534045ba922e7770fb')
  const home = openHome({ path: '/m', env: {} })
  assert.equal(relaySocketPaths(home, 'devbox'), [
    '/m/run/sandboxes/2ff8ddd61f5e0a0c72ad9390/agent.sock',
    '/m/run/agent/2ff8ddd61f5e0a0c72ad9390b7c448e3.sock',
    '/m/sandboxes/devbox/runtime/agent.sock',
  ])
})

test('a sandbox without sockets is unknown, or known and not running', () => {
  const home = temporaryHome()
  const code = (name: string): string | undefined => {
    try {
      findRelaySockets(home, name)
      return undefined
    } catch (error) {
      return error instanceof SandboxError ? `${error.code} ${error.message}` : String(error)
    }
  }
  assert.match(code('box') ?? '', /^SANDBOX_NOT_FOUND sandbox not found: box/)
  mkdirSync(join(home.sandboxesPath, 'box', 'runtime'), { recursive: true })
  assert.match(code('box') ?? '', /^SANDBOX_NOT_RUNNING sandbox is not running: box/)
  writeFileSync(join(home.sandboxesPath, 'box', 'runtime', 'agent.sock'), '')
  assert.equal(findRelaySockets(home, 'box'), [
    join(home.sandboxesPath, 'box', 'runtime', 'agent.sock'),
  ])
})

test.run()

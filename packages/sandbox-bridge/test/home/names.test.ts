/** Sandbox arguments. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SandboxError } from '../../src/home/errors.ts'
import { formatSandboxTarget, parseSandboxName, parseSandboxTarget } from '../../src/home/names.ts'

function refused(text: string, message: RegExp): void {
  assert.throws(
    () => parseSandboxTarget(text),
    (error: unknown) =>
      error instanceof SandboxError &&
      error.code === 'SANDBOX_NAME_INVALID' &&
      message.test(error.message),
    `${JSON.stringify(text)} must be refused with ${message}`,
  )
}

test('a plain word is the name of a microsandbox', () => {
  assert.equal(parseSandboxTarget('dev-box_1.2'), { kind: 'name', name: 'dev-box_1.2' })
  assert.is(parseSandboxName('a'.repeat(128)), 'a'.repeat(128))
})

test('names that could leave their directory or confuse a reader are refused', () => {
  refused('', /cannot be empty/)
  refused('..', /invalid sandbox name/)
  refused('.hidden', /invalid sandbox name/)
  refused('a/b', /invalid sandbox name/)
  refused('-rf', /invalid sandbox name/)
  refused('ä', /invalid sandbox name/)
  refused('a\n', /invalid sandbox name/)
  refused('a'.repeat(129), /too long: 129/)
  refused('a\u001b[31m', /invalid sandbox name "a\\u001b\[31m"/)
})

test('endpoints are told apart by their prefix', () => {
  assert.equal(parseSandboxTarget('unix:/run/agent.sock'), {
    kind: 'unix',
    path: '/run/agent.sock',
  })
  assert.equal(parseSandboxTarget('unix:./agent.sock'), { kind: 'unix', path: './agent.sock' })
  assert.equal(parseSandboxTarget('local:devbox'), {
    kind: 'local',
    name: 'devbox',
    network: 'loopback',
  })
  assert.equal(parseSandboxTarget('local:devbox?net=host'), {
    kind: 'local',
    name: 'devbox',
    network: 'host',
  })
})

test('endpoints that are not understood say what is', () => {
  refused('unix:', /needs the path of a socket/)
  refused('local:', /needs a name/)
  refused('local:../x', /invalid sandbox name/)
  refused('local:a?net=none', /unknown option "net=none" of local: \(net=host or net=loopback\)/)
  refused('local:a?net=host?x', /more than one '\?'/)
  refused('docker:a', /unknown kind of sandbox: "docker": .*local:NAME/)
})

test('a target is written as it was read', () => {
  for (const text of ['devbox', 'unix:/a/b.sock', 'local:x', 'local:x?net=host']) {
    assert.is(formatSandboxTarget(parseSandboxTarget(text)), text)
  }
})

test.run()

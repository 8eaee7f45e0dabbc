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

test('carriers of other machines are checked before anything is dialled', () => {
  refused('virtio-serial:agent.sock', /needs an absolute path/)
  refused('vsock-unix:/v.sock', /needs a path and a port/)
  refused('vsock-unix:/v.sock:', /needs a path and a port/)
  refused('vsock-unix:/v.sock:4294967296', /needs a path and a port/)
  refused('vsock-unix:/v.sock:0', /needs a path and a port/)
  refused('vsock:3:0', /needs a context id and a port/)
  refused('vsock:3:4294967295', /needs a context id and a port/)
  refused('vsock:3', /needs a context id and a port/)
  refused('vsock:3:1:2', /needs a context id and a port/)
  refused('vsock:x:1', /needs a context id and a port/)
  refused('vsock:2:1024', /is the host itself, not a sandbox \(.*vsock:2:1024\?force\)/)
  refused('vsock:0:1024?force', /is the hypervisor/)
  refused('vsock:4294967295:1', /is any, not a sandbox/)
  refused('stdio: ', /needs a command/)
  refused('ws:host', /not the address of a WebSocket/)
  refused('wss://', /not the address of a WebSocket/)
})

test('a target is written as it was read', () => {
  const others = [
    'virtio-serial:/a/b.sock',
    'virtio-serial:/dev/ttyS1?booted',
    'vsock-unix:/a:b/v.sock:1024',
    'vsock:3:1024',
    'vsock:2:1024?force',
    'stdio:docker exec -i box msb-guest --stdio',
    'wss://host.example/relay?token=1',
  ]
  for (const text of ['devbox', 'unix:/a/b.sock', 'local:x', 'local:x?net=host', ...others]) {
    assert.is(formatSandboxTarget(parseSandboxTarget(text)), text)
  }
})

test.run()

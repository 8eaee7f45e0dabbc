/** The embedded sandbox as its users meet it: isolation, sharing, beginning and end. */
// Time limit: 180 s
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import { basename, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Home } from '../../src/home/home.ts'
import { openHome } from '../../src/home/home.ts'
import { dialLocal } from '../../src/local/connect.ts'
import { localLayout } from '../../src/local/layout.ts'
import { sandbox } from '../../src/sandbox.ts'
import type { SshClient } from '../../src/ssh-client.ts'
import { temporaryDirectory, temporaryHome } from '../home/temporary.ts'

/** Isolation is tested where it can be had; CI installs bubblewrap, and says so if it fails. */
const bubblewrap =
  spawnSync('bwrap', ['--ro-bind', '/', '/', '--unshare-user', '--unshare-pid', 'true']).status ===
  0
const isolated = bubblewrap || process.env['CI'] !== undefined ? test : test.skip
const isRoot = process.getuid?.() === 0

interface Opened extends AsyncDisposable {
  readonly client: SshClient
  readonly warnings: readonly string[]
  /** Trimmed stdout; fails on any other status than 0. */
  run(command: string): Promise<string>
}

async function open(home: Home, query = ''): Promise<Opened> {
  const warnings: string[] = []
  const options = { home, onWarning: (text: string) => void warnings.push(text) }
  const client = await sandbox(`local:${nameOf(home)}${query}`, options)
    .ssh()
    .openClient()
  return {
    client,
    warnings,
    run: async (command) => {
      const { status, stdout, stderr } = await client.exec(command)
      assert.is(status, 0, `${command}: status ${status}: ${stderr}`)
      return stdout.toString().trim()
    },
    [Symbol.asyncDispose]: () => client.close(),
  }
}

/** Runs `work` with an open sandbox and sees to its end. */
async function using<T>(opened: Promise<Opened>, work: (box: Opened) => Promise<T>): Promise<T> {
  const box = await opened
  try {
    return await work(box)
  } finally {
    await box.client.close()
  }
}

/** Pids of every process of the home's sandbox: by the home's path or the sandbox's host name. */
function processesOf(home: Home): readonly string[] {
  const marks = [home.path, `--hostname\0${nameOf(home)}\0`]
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .filter((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
        return marks.some((mark) => command.includes(mark))
      } catch {
        return false
      }
    })
}

/** A name that no other test has. */
function nameOf(home: Home): string {
  return basename(home.path).replace(/[^A-Za-z0-9]/g, '')
}

/** Resolves once `condition` holds; there is no event for the end of other people's processes. */
async function eventually(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 20_000
  while (!condition()) {
    if (Date.now() > deadline) assert.unreachable(`not within 20 s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
}

isolated('the user is root inside, in a home and a /tmp of his own', async () => {
  const home = temporaryHome()
  await using(open(home), async ({ run, warnings }) => {
    assert.equal(warnings, [])
    assert.is(
      await run('id -u; id -un; pwd; echo $HOME; hostname'),
      `0\nroot\n/root\n/root\n${nameOf(home)}`,
    )
    await run('echo kept > kept; echo tmp > /tmp/file; chmod 600 kept')
  })
  const layout = localLayout(home, nameOf(home), 'loopback')
  assert.is(readFileSync(join(layout.homePath, 'kept'), 'utf8'), 'kept\n')
  assert.is(statSync(layout.filesPath).mode & 0o777, 0o700)
  await using(open(home), async ({ run }) => {
    assert.is(await run('cat kept /tmp/file'), 'kept\ntmp')
  })
})

isolated('the system is read-only and without the secrets of the host', async () => {
  const home = temporaryHome()
  mkdirSync(home.sshPath, { mode: 0o700 })
  writeFileSync(join(home.sshPath, 'secret'), 'secret')
  await using(open(home), async ({ client, run }) => {
    assert.is(await run('ls -A /run /var/lib /srv /opt | grep -v : | tr -d "\\n"'), '')
    const fails = async (command: string): Promise<void> => {
      const { status, stdout } = await client.exec(command)
      assert.is.not(status, 0, `${command} must fail, but wrote ${stdout}`)
    }
    for (const path of ['/usr/x', '/usr/bin/x', '/lib/x', '/etc/ssl/certs/x', '/proc/sys/x']) {
      await fails(`touch ${path}`)
    }
    await fails('echo core > /proc/sys/kernel/core_pattern')
    await fails('echo x > /etc/passwd')
    await fails('mount -t tmpfs none /mnt')
    await fails('mknod /tmp/null c 1 3')
    for (const path of [home.path, join(home.sshPath, 'secret'), '/etc/shadow', '/home', '/boot']) {
      await fails(`ls ${path}`)
    }
    assert.is(await run('ls -A /root'), '')
    assert.is(await run('ls -d /sys /var/run/docker.sock 2>/dev/null; true'), '')
  })
})

isolated('neither descriptors nor the environment of the host get in', async () => {
  process.env['SECRET_OF_THE_HOST'] = 'secret'
  const home = temporaryHome()
  // As if this program had been started by a shell with a directory open: not closed on exec.
  const script = [
    'cat /proc/*/environ | tr "\\0" "\\n" | grep -c SECRET',
    'for fd in /proc/*/fd/*; do readlink $fd; done | grep -v "^socket:\\|^pipe:\\|^anon_inode:"',
  ]
  await using(open(home), async ({ run }) => {
    assert.is(await run(`${script[0]}; true`), '0')
    const targets = new Set((await run(`${script[1]}; true`)).split('\n'))
    assert.equal(
      [...targets].filter((path) => !/^(\/dev\/null|\/proc\/.*|)$/.test(path)),
      [],
    )
  })
})

isolated('only its own processes are seen, and no network but loopback', async () => {
  const home = temporaryHome()
  await using(open(home), async ({ run }) => {
    const pids = (await run('ls /proc | grep -E "^[0-9]+$"')).split('\n')
    assert.ok(pids.length < 12, `sees ${pids.length} processes`)
    assert.is(
      await run('ls -1 /sys/class/net 2>/dev/null; tail -n +3 /proc/net/dev | cut -d: -f1'),
      'lo',
    )
    const node = process.execPath.startsWith('/usr/') ? process.execPath : '/.msb/node/bin/node'
    const code =
      'require("net").createServer().listen(80,"127.0.0.1",()=>{console.log("up");process.exit()})'
    assert.is(await run(`${node} -e '${code}'`), 'up')
  })
})

isolated(
  'a server on the loopback of the host is reached with net=host, and else not',
  async () => {
    const home = temporaryHome()
    const server = createServer((_, response) => response.end('hello from the host'))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    const port = typeof address === 'object' ? address?.port : undefined
    const command = `exec 3<>/dev/tcp/127.0.0.1/${port} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3`
    const script = `bash -c ${JSON.stringify(command)}`
    try {
      await using(open(home), async ({ client, run }) => {
        assert.is.not((await client.exec(script)).status, 0)
        await run('echo shared > shared')
      })
      await using(open(home, '?net=host'), async ({ run }) => {
        assert.match(await run(script), /hello from the host/)
        assert.is(await run('cat shared'), 'shared')
      })
    } finally {
      server.close()
    }
  },
)

isolated('root inside is another user outside, and owns the files he made', async () => {
  const home = temporaryHome()
  const layout = localLayout(home, nameOf(home), 'loopback')
  const { state } = await using(open(home), async ({ run }) => {
    await run('touch file; chown root:root file; chmod 000 file; cat file')
    const connection = await dialLocal(home, nameOf(home), 'loopback')
    connection.transport.abort()
    return connection
  })
  const owner = statSync(join(layout.homePath, 'file')).uid
  if (isRoot) {
    assert.is(state.isolation, 'separate-user')
    assert.ok(owner >= 0x7000_0000, `owner ${owner}`)
  } else {
    assert.is(state.isolation, 'namespaces')
    assert.is(owner, process.getuid?.())
  }
})

test('all users of a name share one sandbox, which ends with the last of them', async () => {
  const home = temporaryHome()
  const first = await open(home)
  const second = await open(home)
  await first.run('sleep 1000 >/dev/null 2>&1 & echo $! > pid')
  await second.run('kill -0 $(cat pid)')
  await first.client.close()
  await second.run('true')
  assert.ok(processesOf(home).length > 0)
  await second.client.close()
  await eventually(() => processesOf(home).length === 0, 'everything has ended')
})

test('many users coming at once meet in one sandbox', async () => {
  const home = temporaryHome()
  const boxes = await Promise.all(Array.from({ length: 6 }, () => open(home)))
  const ids = await Promise.all(
    boxes.map(({ run }) => run('cat /proc/$PPID/stat | cut -d" " -f1,22')),
  )
  assert.is(new Set(ids).size, 1, ids.join('; '))
  await Promise.all(boxes.map(({ client }) => client.close()))
  await eventually(() => processesOf(home).length === 0, 'everything has ended')
})

test('a sandbox that was killed is started again by its next user', async () => {
  const home = temporaryHome()
  const first = await open(home)
  for (const pid of processesOf(home)) process.kill(Number(pid), 'SIGKILL')
  await eventually(() => processesOf(home).length === 0, 'it is dead')
  assert.ok(existsSync(localLayout(home, nameOf(home), 'loopback').socketPath))
  await using(open(home), async ({ run }) => {
    assert.is(await run('echo again'), 'again')
  })
  await first.client.close()
})

isolated('with its outermost process killed it still ends with its last user', async () => {
  const home = temporaryHome()
  const box = await open(home)
  await box.run('setsid sleep 1000 >/dev/null 2>&1 & true')
  process.kill(Math.min(...processesOf(home).map(Number)), 'SIGKILL')
  await box.client.close()
  await eventually(() => processesOf(home).length === 0, 'everything has ended')
})

test('a deep MSB_HOME works although its socket path does not fit an address', async () => {
  const path = join(temporaryDirectory(), 'd'.repeat(60), 'e'.repeat(60))
  const home = openHome({ path, env: {} })
  await using(open(home), async ({ run }) => {
    assert.is(await run('echo deep'), 'deep')
  })
})

test('without a working bubblewrap it runs all the same, with one warning', async () => {
  const bin = temporaryDirectory()
  writeFileSync(join(bin, 'bwrap'), '#!/bin/sh\necho "bwrap: no permissions here" >&2\nexit 1\n')
  chmodSync(join(bin, 'bwrap'), 0o755)
  const path = process.env['PATH']
  process.env['PATH'] = `${bin}:${path}`
  try {
    const home = temporaryHome()
    await using(open(home), async ({ run, warnings }) => {
      assert.is(warnings.length, 1)
      assert.match(warnings[0] ?? '', /^local:\w+ runs without isolation: .*no permissions here/)
      const { homePath } = localLayout(home, nameOf(home), 'loopback')
      assert.is(await run('pwd; echo $HOME'), `${homePath}\n${homePath}`)
      assert.is(await run('id -u'), String(process.getuid?.()))
    })
  } finally {
    process.env['PATH'] = path
  }
})

isolated('files of a run without isolation belong to the sandbox in the next one', async () => {
  const home = temporaryHome()
  const { homePath, filesPath } = localLayout(home, nameOf(home), 'loopback')
  mkdirSync(join(homePath, 'directory'), { recursive: true })
  chmodSync(filesPath, 0o700)
  writeFileSync(join(homePath, 'directory', 'old'), 'old', { mode: 0o600 })
  symlinkSync('/etc/passwd', join(homePath, 'link'))
  const before = statSync('/etc/passwd').uid
  await using(open(home), async ({ run }) => {
    assert.is(
      await run('cat directory/old; echo new > directory/old; stat -c %U directory/old'),
      'oldroot',
    )
  })
  assert.is(statSync('/etc/passwd').uid, before)
})

test('a home that cannot be written to is one clear error', async () => {
  const home = openHome({ path: '/proc/nowhere', env: {} })
  try {
    await open(home)
    assert.unreachable()
  } catch (error) {
    assert.match(String(error), /SandboxError: cannot create \/proc\/nowhere/)
  }
})

test.run()

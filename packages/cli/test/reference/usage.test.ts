/** §2.1 of the reference: each form, flag, duration and conflict, and what is none. */
// Time limit: 240 s
import { readFileSync } from 'node:fs'
import { test } from 'uvu'
import { temporaryDirectory } from '../msb.ts'
import { checkAll, type Row } from './world.ts'

const nowhere = { home: temporaryDirectory(), sandbox: '' }
const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))

/** Understood, and then there is no such sandbox. */
const understood = (form: string, name = 'nobody'): Row => ({
  args: words(form),
  exit: 1,
  stderr: new RegExp(`^error: sandbox not found: ${name} \\(looked in [^\\n]*\\)\\n$`),
})

/** Not understood: the parser's text, and 2. */
const usage = (form: string, stderr: RegExp): Row => ({ args: words(form), exit: 2, stderr })

/** Words as a shell would make them; `''` is an empty one, `·` a blank. */
function words(form: string): readonly string[] {
  if (form === '') return []
  return form.split(' ').map((word) => word.replaceAll("''", '').replaceAll('·', ' '))
}

test('every form is understood', () =>
  checkAll(
    [
      understood('ssh nobody'),
      understood('ssh nobody -- true'),
      understood('ssh nobody -- ls -l -- --help'),
      understood('ssh --name nobody'),
      understood('ssh --name nobody -- true'),
      understood('ssh connect nobody'),
      understood('ssh connect nobody -- true'),
      understood('ssh connect --name nobody -- true'),
      understood('ssh serve nobody'),
      understood('ssh serve nobody --host localhost --port 0'),
      understood('ssh serve nobody --port 65535'),
      understood('ssh serve nobody --stdio'),
      // Names that look like subcommands.
      understood('ssh --name serve', 'serve'),
      understood('ssh connect connect', 'connect'),
      understood('ssh -- serve true', 'serve'),
      understood('ssh -- authorize', 'authorize'),
      understood('ssh -- help me', 'help'),
      understood('ssh -- nobody ls'),
      // Switches of the program go before and after.
      understood('--error ssh nobody'),
      understood('ssh nobody --warn'),
      understood('--info ssh connect nobody'),
    ],
    nowhere,
  ))

test('every duration', () =>
  checkAll(
    [
      ...['250ms', '90s', '10m', '2h', '90', '0', '0ms', '0h', '·5m·'].map((duration) =>
        understood(`ssh nobody --inactivity-timeout ${duration}`),
      ),
      understood('ssh connect nobody --inactivity-timeout 5m'),
      understood('ssh serve nobody --inactivity-timeout 5m'),
      understood('ssh nobody --no-inactivity-timeout'),
      understood('ssh serve nobody --stdio --no-inactivity-timeout'),
      ...["''", '1.5m', '-1', '+1', '1d', '1h30m', 'm', '1e3', '0x5', '99999999999h'].map((text) =>
        usage(`ssh nobody --inactivity-timeout=${text}`, /a duration is/),
      ),
    ],
    nowhere,
  ))

test('every conflict, and what is missing or too much', () =>
  checkAll(
    [
      usage('ssh', /missing required argument 'sandbox'/),
      usage('ssh connect', /missing required argument 'sandbox'/),
      usage('ssh serve', /missing required argument 'sandbox'/),
      usage('ssh --name a b', /'--name <sandbox>' cannot be used with/),
      usage('ssh connect a --name b', /'--name <sandbox>' cannot be used with/),
      usage('ssh --name', /argument missing/),
      usage('ssh a b', /too many arguments.*\n\(a remote command goes after --\)/),
      usage('ssh serve a local:a', /two sandboxes have the name 'a' here/),
      usage('ssh serve a -- ls', /takes no words after --/),
      usage(
        'ssh a --inactivity-timeout 5 --no-inactivity-timeout',
        /'--no-inactivity-timeout' cannot be used with/,
      ),
      usage(
        'ssh serve a --no-inactivity-timeout --inactivity-timeout 5',
        /'--inactivity-timeout' cannot be used with/,
      ),
      usage('ssh a --tty --no-tty', /'--no-tty' cannot be used with option '--tty'/),
      usage('ssh a -T -t', /'--tty' cannot be used with option '--no-tty'/),
      // What may be given once only; the last one does not simply count.
      usage('ssh --name a --name b', /'--name <sandbox>' cannot be used twice/),
      usage('ssh a -u b --user c', /'-u, --user <user>' cannot be used twice/),
      usage('ssh a --inactivity-timeout 5 --inactivity-timeout 5', /cannot be used twice/),
      usage('ssh serve a --port 1 --port 2', /'--port <port>' cannot be used twice/),
      usage('ssh authorize --sandbox a --sandbox b --stdin', /cannot be used twice/),
      understood('ssh -tt nobody'),
      understood('ssh nobody -e A=1 -e B=2 -e A=3'),
      usage("ssh a --term ''", /it is the name of a terminal type/),
      usage("ssh a -e ''", /it is NAME=VALUE/),
      usage('ssh a -e =x', /it is NAME=VALUE/),
      usage('ssh a --cwd tmp', /it is an absolute path in the sandbox/),
      usage('ssh serve a --stdio --port 2222', /cannot be used with/),
      usage('ssh serve a --host 127.0.0.1 --stdio', /cannot be used with/),
      ...['65536', '-1', 'ssh', '1e3', "''", '22.0', '·22'].map((port) =>
        usage(`ssh serve a --port=${port}`, /it is a number from 0 to 65535/),
      ),
      usage('ssh a --port 22', /unknown option '--port'/),
      usage('ssh a --bogus', /unknown option '--bogus'/),
      usage('ssh serve a --name b', /unknown option '--name'/),
      // Options of the bare form do not mix with a subcommand.
      usage('ssh --inactivity-timeout 5 serve a', /too many arguments/),
      usage('ssh --no-inactivity-timeout authorize --stdin', /unknown option|too many arguments/),
      usage('ssh --name a serve b', /too many arguments/),
      usage('ssh authorize', /one of --file, --key, --stdin, --list and --revoke is required/),
      usage('ssh authorize --file a --stdin', /cannot be used with/),
      usage('ssh authorize --file a --key b', /cannot be used with/),
      usage('ssh authorize --key b --stdin', /cannot be used with/),
      usage('ssh authorize --stdin -- x', /takes no words after --/),
      usage('ssh authorize a', /too many arguments/),
      usage('ssh authorize --file', /argument missing/),
      usage('', /Usage: msb/),
    ],
    nowhere,
  ))

test('help, the version and the tree are for stdout', () =>
  checkAll(
    [
      { args: ['--version'], exit: 0, stdout: `${version}\n` },
      { args: ['-V'], exit: 0, stdout: `${version}\n` },
      { args: ['--help'], exit: 0, stdout: /^Usage: msb / },
      { args: ['help'], exit: 0, stdout: /^Usage: msb / },
      { args: ['help', 'ssh'], exit: 0, stdout: /^Usage: msb ssh / },
      { args: ['ssh', '--help'], exit: 0, stdout: /Examples:\n {2}msb ssh devbox/ },
      { args: ['ssh', 'help'], exit: 0, stdout: /^Usage: msb ssh / },
      { args: ['--tree'], exit: 0, stdout: /^msb\n {2}ssh .*\n {4}connect .*\n {4}serve / },
      ...['connect', 'serve', 'authorize', 'cp', 'config', 'keys', 'doctor'].flatMap(helped),
      ...['completion', 'relay'].flatMap(helped),
    ],
    nowhere,
  ))

function helped(command: string): readonly Row[] {
  const stdout = new RegExp(`^Usage: msb ssh ${command} (.*\\n)*Examples:\\n {2}\\S`)
  return [
    { args: ['ssh', command, '--help'], exit: 0, stdout },
    { args: ['ssh', 'help', command], exit: 0, stdout },
  ]
}

test.run()

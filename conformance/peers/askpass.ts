// What somebody would type at the prompts of OpenSSH's programs.

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryFolder } from './folder.ts'

/** Answers prepared for one run of a program. */
export interface Askpass {
  /** To be added to the environment of the program; `BatchMode` must not be on. */
  readonly env: Readonly<Record<string, string>>
  /** The prompts that came, in order. */
  prompts(): readonly string[]
}

/** Gives the answers, one a prompt and in order; to the next prompt the program gets none. */
export function askpass(answers: readonly string[]): Askpass {
  const folder = temporaryFolder()
  const [program, asked, prepared] = ['program', 'asked', 'answers'].map((name) =>
    join(folder, name),
  ) as [string, string, string]
  writeFileSync(prepared, answers.map((answer) => `${answer}\n`).join(''))
  // A prompt may have lines; one file a prompt keeps them apart.
  const script = [
    '#!/bin/sh',
    'n=1; while test -e "$ASKED.$n"; do n=$((n + 1)); done',
    'printf %s "$1" > "$ASKED.$n"',
    'answer=$(sed -n "$n{p;q}" "$ANSWERS"); test "$n" -le "$COUNT" && printf "%s\\n" "$answer"',
  ]
  writeFileSync(program, `${script.join('\n')}\n`, { mode: 0o700 })
  return {
    env: {
      ...{ SSH_ASKPASS: program, SSH_ASKPASS_REQUIRE: 'force' },
      ...{ ASKED: asked, ANSWERS: prepared, COUNT: `${answers.length}` },
    },
    prompts: () => {
      const texts: string[] = []
      while (existsSync(`${asked}.${texts.length + 1}`)) {
        texts.push(readFileSync(`${asked}.${texts.length + 1}`, 'utf8'))
      }
      return texts
    },
  }
}

/** What may come next on a command line, and the scripts that have shells ask. */
import type { Argument, Command, Option } from 'commander'

/** Shells with a script. */
export const SHELLS: readonly string[] = ['bash', 'zsh', 'fish']

/** Candidates, of which those that fit are shown; `sandboxes` adds the names of sandboxes. */
export interface Candidates {
  readonly words: readonly string[]
  /** `none`, or how a name is written here: `cp` has a colon after it. */
  readonly sandboxes: 'none' | 'plain' | 'with-colon'
  /** What has been typed of the word. */
  readonly typed: string
}

/**
 * What may stand where the last of `words` is being typed; the program's own name is left out.
 * Nothing after `--`, which is a command line of the sandbox, nor where a file is wanted.
 */
export function complete(program: Command, words: readonly string[]): Candidates {
  const typed = words.at(-1) ?? ''
  const nothing: Candidates = { words: [], sandboxes: 'none', typed }
  const before = words.slice(0, -1)
  if (before.includes('--')) return nothing
  let command = program
  let positionals = 0
  let awaiting: Option | undefined
  for (const word of before) {
    if (awaiting !== undefined) {
      awaiting = undefined
      continue
    }
    if (word.startsWith('-')) {
      awaiting = optionThatWaits(command, word)
      continue
    }
    const child = command.commands.find((other) => other.name() === word)
    if (child !== undefined && positionals === 0) command = child
    else positionals++
  }
  if (awaiting !== undefined) {
    const isSandbox = awaiting.long === '--sandbox' || awaiting.long === '--name'
    const choices = awaiting.argChoices ?? []
    return { words: choices, sandboxes: isSandbox ? 'plain' : 'none', typed }
  }
  // Bare `msb ssh` takes what its default command takes.
  const commands = [command, ...defaultsOf(command)]
  if (typed.startsWith('-')) {
    const flags = commands.flatMap((each) => each.options).filter(({ hidden }) => !hidden)
    const names = flags.flatMap(({ short, long }) =>
      [short, long].filter((name) => name !== undefined),
    )
    return { words: [...new Set([...names, '--help'])], sandboxes: 'none', typed }
  }
  const named = commands.flatMap((each) => argumentAt(each.registeredArguments, positionals))
  const subcommands = positionals > 0 ? [] : visibleCommands(command)
  return {
    words: [...subcommands, ...named.flatMap(({ argChoices }) => argChoices ?? [])],
    sandboxes: named.some((argument) => argument.name() === 'sandbox')
      ? 'plain'
      : command.name() === 'cp'
        ? 'with-colon'
        : 'none',
    typed,
  }
}

/** The option whose value comes next, if the word is one and holds none itself. */
function optionThatWaits(command: Command, word: string): Option | undefined {
  return [command, ...defaultsOf(command)]
    .flatMap((each) => each.options)
    .find((option) => option.required && (option.short === word || option.long === word))
}

function defaultsOf(command: Command): readonly Command[] {
  return command.name() === 'ssh'
    ? command.commands.filter((each) => each.name() === 'connect')
    : []
}

function visibleCommands(command: Command): readonly string[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .map((each) => each.name())
}

function argumentAt(all: readonly Argument[], index: number): readonly Argument[] {
  const argument = all[index] ?? all.findLast(({ variadic }) => variadic)
  return argument === undefined ? [] : [argument]
}

/** The script for a shell of `SHELLS`, to be sourced. */
export function completionScript(shell: string): string {
  switch (shell) {
    case 'bash':
      return BASH
    case 'zsh':
      return ZSH
    default:
      return FISH
  }
}

// Bash splits words at colons, which names of sandboxes have, and puts what it is given behind the
// last one.
const BASH = `_msb() {
  local line=\${COMP_LINE:0:COMP_POINT} prefix= candidate word
  local -a words
  read -ra words <<< "$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  word=\${words[\${#words[@]}-1]}
  [[ $word == *:* && $COMP_WORDBREAKS == *:* ]] && prefix=\${word%"\${word##*:}"}
  COMPREPLY=()
  while IFS= read -r candidate; do
    [[ $candidate == *: ]] && compopt -o nospace 2>/dev/null
    COMPREPLY+=("\${candidate#"$prefix"}")
  done < <(msb ssh complete -- "\${words[@]:1}" 2>/dev/null)
}
complete -o default -F _msb msb
`

const ZSH = `#compdef msb
_msb() {
  local -a candidates
  candidates=("\${(@f)$(msb ssh complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  candidates=("\${(@)candidates:#}")
  if (( $#candidates )); then
    compadd -S '' -a candidates
  else
    _files
  fi
}
if [[ $funcstack[1] == _msb ]]; then _msb "$@"; else compdef _msb msb; fi
`

// Files are for where nothing of ours fits; the question is asked once for both.
const FISH = `function __msb_found
  set -g __msb_candidates (msb ssh complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)
  test (count $__msb_candidates) -gt 0
end
complete -c msb -f -n __msb_found -a '$__msb_candidates'
`

// Code samples of the documentation: fenced blocks of Markdown files, and the examples of doc
// comments.
//
// A block `ts` is a module of its own, with its imports. Where it logs, and a comment behind the
// call says what (`console.log(x) // 7`), it must log just that; `…` stands for any text. Names of
// `docs/prelude.ts`, such as `client`, may be used without ado. A comment says where it is run if
// that is elsewhere: `In a terminal; typed: exit`, `Run with Deno.` A block `console` is a session
// in a shell, where each line after `$ ` is typed and what follows is what it prints.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../bundle.mjs'
import { docExamplesOf } from './doc-comment.ts'

/** A sample. */
export interface Sample {
  /** Path from the root. */
  readonly file: string
  /** Of its first line of code. */
  readonly line: number
  /** `ts`, `sh`, `console`, … */
  readonly language: string
  readonly code: string
}

/** The Markdown files whose samples are checked. */
export function markdownFiles(): string[] {
  const packages = readdirSync(join(root, 'packages')).map((name) => `packages/${name}/README.md`)
  const docs = readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`)
  return ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', ...packages, ...docs].filter((path) =>
    existsSync(join(root, path)),
  )
}

/** All samples. */
export function readSamples(): Sample[] {
  return [
    ...markdownFiles().flatMap((file) => fencedBlocks(file, readText(file))),
    ...sourceFiles().flatMap((file) =>
      docExamplesOf(readText(file)).map(({ code, line }) => ({ file, line, language: 'ts', code })),
    ),
  ]
}

/** The fenced blocks of a Markdown file. */
export function fencedBlocks(file: string, text: string): Sample[] {
  return [...text.matchAll(/^```(\w+)[^\n]*\n([\s\S]*?)^```$/gm)].map((match) => ({
    file,
    line: text.slice(0, match.index).split('\n').length + 1,
    language: match[1] ?? '',
    code: (match[2] ?? '').trimEnd(),
  }))
}

/** Where a sample is run. */
export type Stage =
  | { readonly kind: 'here' }
  | { readonly kind: 'runtime'; readonly runtime: string }
  /** `typed`, and Return behind it, is what somebody types once the sample has printed anything. */
  | { readonly kind: 'terminal'; readonly typed: string }

/** Where a sample is run, as it says itself. */
export function stageOf({ code, language }: Sample): Stage {
  const runtime = /^\/\/ Run with (Deno|Bun)\./m.exec(code)?.[1]?.toLowerCase()
  const typed = /^\/\/ In a terminal; typed: (.*)$/m.exec(code)?.[1]
  if (typed !== undefined) return { kind: 'terminal', typed }
  if (runtime !== undefined) return { kind: 'runtime', runtime }
  return language === 'js' ? { kind: 'runtime', runtime: 'node' } : { kind: 'here' }
}

/** Names that a sample imports, as `specifier name`. */
export function importedNames(code: string): string[] {
  return [...code.matchAll(/^import(?: type)? \{([^}]*)\} from '([^']+)'/gm)].flatMap(
    ([, names = '', specifier]) =>
      names
        .split(',')
        .map(
          (name) =>
            name
              .trim()
              .replace(/^type /, '')
              .split(' as ')[0] ?? '',
        )
        .filter((name) => name !== '')
        .map((name) => `${specifier} ${name}`),
  )
}

/** What a sample says it logs, line by line; undefined if it says nothing. */
export function promisedLines({ code }: Sample): string[] | undefined {
  const lines = [...code.matchAll(/console\.log\(.*\) \/\/ (.*)$/gm)].map((match) => match[1] ?? '')
  return lines.length === 0 ? undefined : lines
}

/** Whether lines are as promised, where `…` may be any text, and a line `…` any lines. */
export function isAsPromised(printed: string, promised: readonly string[]): boolean {
  const pattern = promised
    .map((line) =>
      line === '…'
        ? '[\\s\\S]*?'
        : line
            .split('…')
            .map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
            .join('.*'),
    )
    .join('\n')
  return new RegExp(`^${pattern}$`).test(printed.trimEnd())
}

function sourceFiles(): string[] {
  return readdirSync(join(root, 'packages')).flatMap((name) =>
    readdirSync(join(root, 'packages', name, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts'))
      .map((path) => `packages/${name}/src/${path}`),
  )
}

function readText(path: string): string {
  return readFileSync(join(root, path), 'utf8')
}

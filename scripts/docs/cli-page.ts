// The reference page of the command line, from the very commands that parse it.

import type { EventEmitter } from 'node:events'
import type { Argument, Command, Option } from 'commander'
import { type Rendered, type RenderOptions, renderMarkdown } from './markdown.ts'

/** Renders the page of a program and all its commands. */
export function renderCliPage(program: Command, options: RenderOptions): Rendered {
  const markdown = [
    '# Command line',
    'Every command, as the program itself describes it (`--help`). Options of `msb` go anywhere.',
    ...visible(program).map((command) => describe(command)),
  ].join('\n\n')
  const { html, headings } = renderMarkdown(markdown, options)
  return { html, headings }
}

function visible(command: Command): Command[] {
  const children = command
    .createHelp()
    .visibleCommands(command)
    .filter((child) => child.name() !== 'help')
  return [command, ...children.flatMap(visible)]
}

function describe(command: Command): string {
  const help = command.createHelp()
  const name = pathOf(command)
  const options = help.visibleOptions(command).filter(({ long }) => long !== '--help')
  const notes = afterHelp(command)
  const examples = /^Examples:\n((?: {2}.*\n?)+)/m.exec(notes)
  return [
    `## ${name}`,
    sentence(command.description()),
    fence('text', help.commandUsage(command).replaceAll(/\n +/g, '\n')),
    list('Argument', command.registeredArguments.map(describeArgument)),
    list('Option', options.map(describeOption)),
    paragraphs(notes.replace(examples?.[0] ?? '', '')),
    examples === null ? '' : `Examples:\n\n${fence('sh', outdent(examples[1] ?? ''))}`,
  ]
    .filter((part) => part !== '')
    .join('\n\n')
}

function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`
}

/** What `addHelpText` adds behind the help; commander shows it by an event. */
function afterHelp(command: Command): string {
  let text = ''
  const write = (chunk: string): void => {
    text += chunk
  }
  // Commands are emitters, which their types do not tell.
  const emitter = command as Command & Pick<EventEmitter, 'emit'>
  emitter.emit('afterHelp', { command, error: false, write })
  return text.trim()
}

function describeArgument(argument: Argument): [string, string] {
  const name = argument.required ? `<${argument.name()}>` : `[${argument.name()}]`
  const choices = argument.argChoices?.join(', ')
  return [name, [argument.description, choices].filter((text) => text).join(': ')]
}

function describeOption({ flags, description, defaultValue, ...option }: Option): [string, string] {
  if (defaultValue === undefined || typeof defaultValue === 'boolean') return [flags, description]
  return [flags, `${description} (default: ${option.defaultValueDescription ?? defaultValue})`]
}

function list(title: string, rows: readonly (readonly [string, string])[]): string {
  const described = rows.filter(([, text]) => text !== '')
  if (described.length === 0) return ''
  const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('<', '&lt;')
  return [
    `| ${title} | |`,
    '|---|---|',
    ...described.map(([flags, text]) => `| \`${flags.replaceAll('|', '\\|')}\` | ${cell(text)} |`),
  ].join('\n')
}

/** Lists of the help's text stay as they are; the rest flows. */
function paragraphs(text: string): string {
  return text
    .trim()
    .split(/\n\n+/)
    .map((part) => (/^ {2}/m.test(part) ? fence('text', part) : part))
    .join('\n\n')
}

function outdent(text: string): string {
  return text.trimEnd().replaceAll(/^ {2}/gm, '')
}

function sentence(text: string): string {
  return text === '' ? '' : `${text[0]?.toUpperCase()}${text.slice(1)}.`
}

function fence(language: string, text: string): string {
  return text === '' ? '' : `\`\`\`${language}\n${text}\n\`\`\``
}

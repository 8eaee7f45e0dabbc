// The whole site as files: the Markdown of the repository, the samples' programs, and the reference
// made from the sources and from the command line itself. Nothing is fetched, then or later.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { commandTree } from '../../packages/cli/src/args.ts'
import { VERSION } from '../../packages/cli/src/version.ts'
import { root } from '../bundle.mjs'
import { type ApiEntry, readApi } from './api.ts'
import { apiPageName, renderApiPage, type Showing } from './api-page.ts'
import { renderCliPage } from './cli-page.ts'
import { codeBlock, type Rendered, type RenderOptions, renderMarkdown } from './markdown.ts'
import { importedNames, readSamples } from './samples.ts'
import { type NavSection, renderPage } from './template.ts'

/** A site. */
export interface Site {
  /** Contents by file name. */
  readonly files: ReadonlyMap<string, string>
  /** What is wrong with it, such as links that lead nowhere. */
  readonly complaints: readonly string[]
}

interface Page extends Rendered {
  readonly title: string
  readonly href: string
}

/** Markdown outside docs/ that has a page, and its title in the navigation. */
const projectPages: readonly (readonly [string, string, string])[] = [
  ['CHANGELOG.md', 'changelog.html', 'Changes'],
  ['SECURITY.md', 'security-policy.html', 'Security policy'],
  ['CONTRIBUTING.md', 'contributing.html', 'Taking part'],
  ['conformance/README.md', 'conformance.html', 'Tested peers'],
  ['README.md', 'repository.html', 'The repository'],
]

/** Builds it from what is in the clone. */
export function buildSite(api: readonly ApiEntry[] = readApi()): Site {
  return new SiteBuilder(api).build()
}

class SiteBuilder {
  readonly #api: readonly ApiEntry[]
  /** Page of a file of the repository. */
  readonly #pageOf = new Map<string, string>()
  readonly #names: ReadonlyMap<string, string>
  readonly #complaints: string[] = []
  readonly #titles = new Map<string, string>()

  constructor(api: readonly ApiEntry[]) {
    this.#api = api
    // Where packages export the same name, the first has it: they are listed from below.
    const names = new Map<string, string>()
    for (const { specifier, exports } of [...api].reverse()) {
      for (const { name } of exports) names.set(name, `${apiPageName(specifier)}#${name}`)
    }
    for (const plain of commonWords) names.delete(plain)
    this.#names = names
  }

  build(): Site {
    const guide = list('docs', '.md')
    for (const name of guide) this.#pageOf.set(`docs/${name}`, pageName(name))
    for (const [file, page] of projectPages) this.#pageOf.set(file, page)
    for (const folder of readdirSync(join(root, 'packages'))) {
      this.#pageOf.set(`packages/${folder}`, `package-${folder}.html`)
      this.#pageOf.set(`packages/${folder}/README.md`, `package-${folder}.html`)
    }
    const programs = list('examples', '.ts')
      .filter((name) => !name.endsWith('.test.ts'))
      .map((name) => `examples/${name}`)
    for (const path of [...programs, 'docs/prelude.ts']) {
      this.#pageOf.set(path, `example-${basename(path, '.ts')}.html`)
    }
    this.#pageOf.set('examples', 'examples.html')
    const markdown = [...this.#pageOf.keys()].filter((path) => path.endsWith('.md'))
    const sources = [...this.#pageOf.keys()].filter((path) => path.endsWith('.ts'))
    const pages = [
      ...markdown.map((path) => this.#markdownPage(path)),
      ...sources.map((path) => this.#sourcePage(path)),
      this.#examplesPage(programs),
      this.#cliPage(),
      ...this.#api.map((entry) => this.#apiPage(entry)),
    ]
    return this.#assemble(pages, guide, programs)
  }

  #assemble(pages: readonly Page[], guide: readonly string[], programs: readonly string[]): Site {
    for (const { href, title } of pages) this.#titles.set(href, title)
    const nav = this.#navigation(guide, programs)
    const files = new Map<string, string>([['style.css', readFileSync(stylesheet, 'utf8')]])
    for (const page of pages) files.set(page.href, renderPage({ ...page, nav }))
    return { files, complaints: [...this.#complaints, ...brokenLinks(files)] }
  }

  /** The guide in the order of its own index, then the reference and the project. */
  #navigation(guide: readonly string[], programs: readonly string[]): NavSection[] {
    const index = readFileSync(join(root, 'docs/README.md'), 'utf8')
    const sections: { title: string; pages: { title: string; href: string }[] }[] = []
    const page = (href: string): { title: string; href: string } => ({
      title: this.#titles.get(href) ?? href,
      href,
    })
    for (const line of index.split('\n')) {
      const title = /^## (.*)/.exec(line)?.[1]
      if (title !== undefined) sections.push({ title, pages: [] })
      const name = /\]\(([\w-]+\.md)\)/.exec(line)?.[1]
      if (name !== undefined) sections.at(-1)?.pages.push(page(pageName(name)))
    }
    const listed = new Set(sections.flatMap(({ pages }) => pages.map(({ href }) => href)))
    const others = guide.map(pageName).filter((href) => href !== 'index.html' && !listed.has(href))
    const references = this.#api.map(({ specifier }) => ({
      title: specifier.replace('@sandbox-ssh/', ''),
      href: apiPageName(specifier),
    }))
    return [
      { title: 'Start', pages: [{ title: 'Overview', href: 'index.html' }] },
      ...sections.filter(({ pages }) => pages.length > 0),
      ...(others.length === 0 ? [] : [{ title: 'More', pages: others.map(page) }]),
      {
        title: 'Reference',
        pages: [{ title: 'Command line', href: 'cli.html' }, ...references],
      },
      { title: 'Examples', pages: programs.map((path) => page(this.#pageOf.get(path) ?? '')) },
      {
        title: 'Project',
        pages: projectPages.map(([, href, title]) => ({ title, href })),
      },
    ]
  }

  #markdownPage(path: string): Page {
    const text = readFileSync(join(root, path), 'utf8')
    const rendered = renderMarkdown(text, this.#options(path))
    const heading = /^# (.*)$/m.exec(text)?.[1] ?? path
    const title = path === 'docs/README.md' ? 'sandbox-ssh' : heading.replaceAll('`', '')
    return { ...rendered, title, href: this.#pageOf.get(path) ?? '' }
  }

  #sourcePage(path: string): Page {
    const text = readFileSync(join(root, path), 'utf8')
    const title = basename(path, '.ts').replaceAll('-', ' ')
    const block = codeBlock(text.trimEnd(), 'ts', (name) => this.#names.get(name))
    const html = `<h1>${title[0]?.toUpperCase()}${title.slice(1)}</h1>\n<p>${path}</p>\n${block}`
    return { html, headings: [], title, href: this.#pageOf.get(path) ?? '' }
  }

  #examplesPage(programs: readonly string[]): Page {
    const rows = programs.map((path) => {
      const header = /^(?:\/\/ .*\n)+/.exec(readFileSync(join(root, path), 'utf8'))?.[0] ?? ''
      return `- [${basename(path)}](${basename(path)}): ${header.replaceAll('// ', '').trim()}`
    })
    const text = `# Examples\n\nPrograms, each run by a test.\n\n${rows.join('\n')}\n`
    const rendered = renderMarkdown(text, this.#options('examples/index'))
    return { ...rendered, title: 'Examples', href: 'examples.html' }
  }

  #cliPage(): Page {
    const program = commandTree({ version: VERSION, env: {} })
    const rendered = renderCliPage(program, this.#options('docs/README.md'))
    return { ...rendered, title: 'Command line', href: 'cli.html' }
  }

  #apiPage(entry: ApiEntry): Page {
    const showings = this.#showings(entry.specifier)
    const options = this.#options('docs/README.md')
    // Names of this very entry come before the same names elsewhere.
    const own = new Set(entry.exports.map(({ name }) => name))
    const name: RenderOptions['name'] = (text) =>
      own.has(text) && !commonWords.has(text) ? `#${text}` : options.name(text)
    const rendered = renderApiPage(entry, { ...options, name }, (each) => showings.get(each) ?? [])
    return { ...rendered, title: entry.specifier, href: apiPageName(entry.specifier) }
  }

  /** Pages of the guide and programs that show an export. */
  #showings(specifier: string): Map<string, Showing[]> {
    const found = new Map<string, Showing[]>()
    const add = (path: string, code: string): void => {
      const href = this.#pageOf.get(path)
      if (href === undefined) return
      for (const imported of importedNames(code)) {
        const [from, name = ''] = imported.split(' ')
        if (from !== specifier) continue
        const all = found.get(name) ?? []
        if (all.every((other) => other.href !== href))
          all.push({ title: this.#titleOf(path), href })
        found.set(name, all)
      }
    }
    for (const { file, code } of readSamples()) add(file, code)
    for (const path of this.#pageOf.keys()) {
      if (path.startsWith('examples/')) add(path, readFileSync(join(root, path), 'utf8'))
    }
    return found
  }

  #titleOf(path: string): string {
    if (path.endsWith('.ts')) return path
    return /^# (.*)$/m.exec(readFileSync(join(root, path), 'utf8'))?.[1] ?? path
  }

  #options(path: string): RenderOptions {
    return {
      name: (text) => this.#names.get(text),
      link: (href) => this.#link(path, href),
    }
  }

  #link(from: string, href: string): string | undefined {
    if (/^(?:https?|mailto):/.test(href)) return href
    const [target = '', fragment] = href.split('#')
    const hash = fragment === undefined ? '' : `#${fragment}`
    if (target === '') return hash
    const path = posix.join(posix.dirname(from), target).replace(/\/$/, '')
    const page = this.#pageOf.get(path)
    if (page !== undefined) return `${page}${hash}`
    if (!existsSync(join(root, path))) this.#complaints.push(`${from}: no such file: ${href}`)
    // A file of the repository that has no page is named, and not linked.
    return undefined
  }
}

const stylesheet = join(dirname(fileURLToPath(import.meta.url)), 'style.css')

/** Exports whose names are words of every text: no link for each `string`. */
const commonWords = new Set(
  'ascii boolean fixed message none password rest string struct uint8 uint32 uint64 utf8'.split(
    ' ',
  ),
)

function list(folder: string, suffix: string): string[] {
  return readdirSync(join(root, folder))
    .filter((name) => name.endsWith(suffix))
    .sort()
}

function pageName(name: string): string {
  return name === 'README.md' ? 'index.html' : name.replace(/\.md$/, '.html')
}

/** Links within the site whose page or part is not there, and whatever is loaded from outside. */
function brokenLinks(files: ReadonlyMap<string, string>): string[] {
  const ids = new Map(
    [...files].map(([name, html]) => [
      name,
      new Set([...html.matchAll(/ id="([^"]+)"/g)].map((match) => match[1])),
    ]),
  )
  const complaints: string[] = []
  for (const [name, html] of files) {
    if (!name.endsWith('.html')) continue
    for (const [, tag = '', target = ''] of html.matchAll(
      /<(\w+)\b[^>]*? (?:href|src)="([^"]*)"/g,
    )) {
      if (/^https?:|^mailto:/.test(target)) {
        if (tag !== 'a') complaints.push(`${name}: loads ${target}`)
        continue
      }
      const [page, fragment] = target.split('#')
      const known = ids.get(page === '' || page === undefined ? name : page)
      if (known === undefined) complaints.push(`${name}: leads to ${target}, which is not there`)
      else if (fragment !== undefined && !known.has(decodeURIComponent(fragment))) {
        complaints.push(`${name}: leads to ${target}, a part that is not there`)
      }
    }
  }
  return complaints
}

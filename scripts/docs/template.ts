// The one page template of the site.

import { escapeHtml } from './highlight.ts'
import type { Heading } from './markdown.ts'

/** A part of the side navigation. */
export interface NavSection {
  readonly title: string
  readonly pages: readonly { readonly title: string; readonly href: string }[]
}

/** What a page is made of. */
export interface PageParts {
  readonly title: string
  readonly href: string
  readonly html: string
  readonly headings: readonly Heading[]
  readonly nav: readonly NavSection[]
}

/** A whole page of HTML. */
export function renderPage({ title, href, html, headings, nav }: PageParts): string {
  const all = nav.flatMap(({ pages }) => pages)
  const index = all.findIndex((page) => page.href === href)
  const neighbour = (at: number, label: string): string => {
    const page = index === -1 ? undefined : all[at]
    return page === undefined
      ? '<span></span>'
      : `<a href="${page.href}"><small>${label}</small>${escapeHtml(page.title)}</a>`
  }
  const parts = headings.filter(({ level }) => level === 2)
  const toc = parts.map(({ id, html: text }) => {
    return `<li><a href="#${id}">${text.replaceAll(/<\/?a\b[^>]*>/g, '')}</a></li>`
  })
  const onThisPage =
    parts.length < 2
      ? ''
      : `<aside aria-label="On this page"><h2>On this page</h2><ul>${toc.join('')}</ul></aside>`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(title)}${href === 'index.html' ? '' : ' · sandbox-ssh'}</title>
<link rel="stylesheet" href="style.css">
</head>
<body>
<a class="skip" href="#content">Skip to content</a>
<header><a class="brand" href="index.html">sandbox-ssh</a>
<details class="menu"><summary>Menu</summary>${navigation(nav, href)}</details></header>
<div class="columns">
<nav class="side" aria-label="Pages">${navigation(nav, href)}</nav>
<main id="content">
${html}
<footer>${neighbour(index - 1, 'Before')}${neighbour(index + 1, 'Next')}</footer>
</main>
${onThisPage}
</div>
</body>
</html>
`
}

function navigation(nav: readonly NavSection[], current: string): string {
  return nav
    .map(({ title, pages }) => {
      const items = pages.map(({ title: name, href }) => {
        const here = href === current ? ' aria-current="page"' : ''
        return `<li><a href="${href}"${here}>${escapeHtml(name)}</a></li>`
      })
      return `<h2>${escapeHtml(title)}</h2><ul>${items.join('')}</ul>`
    })
    .join('')
}

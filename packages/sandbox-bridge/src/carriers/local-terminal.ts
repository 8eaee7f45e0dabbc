/** What Node cannot set on the terminal of this process. */
import { spawnSync } from 'node:child_process'

/**
 * Has output pass as it is. Node's raw mode is about input and leaves the translation of line feeds
 * on; but a remote terminal has done that already, and a program that draws on the whole screen
 * uses bare line feeds to move down. Leaving raw mode restores this as well. `fd` is of the
 * terminal.
 */
export function passOutputThrough(fd: number): void {
  if (process.platform === 'win32') return
  // Without stty the screen is drawn a little wrong, which is no reason to give up.
  spawnSync('stty', ['-opost'], { stdio: [fd, 'ignore', 'ignore'] })
}

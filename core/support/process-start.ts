import { readFileSync } from 'node:fs'

/**
 * When a process started, in ticks since the start of the machine, so that another one that got its number is not taken
 * for it. Field 22 of /proc/PID/stat; undefined where there is no /proc. A zombie holds nothing, so it counts as gone.
 */
export function startOf(pid: number): string | 'gone' | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' || fields[0] === 'X' ? 'gone' : fields[19]
  } catch {
    return undefined
  }
}

/** The same with the run of the machine: two processes of different runs may have started after as many ticks. */
export function processMark(pid: number): string | 'gone' | undefined {
  const started = startOf(pid)
  if (started === undefined || started === 'gone') return started
  try {
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}/${started}`
  } catch {
    return started
  }
}

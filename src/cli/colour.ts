/** Colours, where somebody looks who can see them. */
import { styleText } from 'node:util'

export type Colour = 'red' | 'yellow' | 'green' | 'bold'

/** The text as it is where the output is no terminal, or where NO_COLOR is set. */
export function coloured(colour: Colour | undefined, text: string): string {
  if (colour === undefined || !process.stdout.isTTY || !process.stdout.hasColors()) return text
  return styleText(colour, text)
}

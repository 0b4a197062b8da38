// Ends what a test started when the test itself is killed, and its teardowns never run: a shell of a few lines holds the other end of a pipe, and when
// nobody holds this end any more it kills every process group that is still named to it.
import { type ChildProcess, spawn } from "node:child_process";

/** Reads `+ GROUP` and `- GROUP` line by line. It ignores what a terminal sends to everybody: its work begins when the others are gone. */
const WATCH = `
trap '' INT TERM HUP
groups=' '
while read -r what group; do
  case $what in
    +) groups="$groups$group " ;;
    -) case $groups in *" $group "*) groups="\${groups%% $group *} \${groups#* $group }" ;; esac ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
`;

let watch: ChildProcess | null = null;

/** From now on the group ends with this process, however that ends. */
export function watchGroup(group: number): void {
  tell(`+ ${group}`);
}

/** The group has ended: its number may be another's soon. Saying so twice does nothing. */
export function unwatchGroup(group: number): void {
  tell(`- ${group}`);
}

function tell(line: string): void {
  if (watch === null) {
    watch = spawn("sh", ["-c", WATCH], { detached: true, stdio: ["pipe", "ignore", "ignore"] });
    watch.unref();
    watch.on("error", () => undefined); // without a shell there is no watch, and teardowns do their work alone
    watch.stdin?.on("error", () => undefined);
    (watch.stdin as { unref?(): void } | null)?.unref?.();
  }
  watch.stdin?.write(`${line}\n`);
}

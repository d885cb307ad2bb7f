// "Today", "Yesterday", "Last 7 days", "October", "October 2025".
const kDay = 86_400_000;

export function dayOf(time: number, now = new Date()): string {
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime();
  if (time >= midnight) return 'Today';
  if (time >= midnight - kDay) return 'Yesterday';
  if (time >= midnight - 7 * kDay) return 'Last 7 days';
  const date = new Date(time);
  const sameYear = date.getFullYear() === now.getFullYear();
  return date.toLocaleDateString('en', sameYear ? {month: 'long'} : {month: 'long', year: 'numeric'});
}

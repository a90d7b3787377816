"""From the program in memory to operators in flight: fetch, check, issue, retire, report."""

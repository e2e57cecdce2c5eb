"""The one engine that every system trains on: settings, runs that survive a kill, export."""

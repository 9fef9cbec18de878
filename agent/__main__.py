"""`python -m agent`, the same as iot-agent."""

from agent.cli import main

if __name__ == "__main__":
    main()

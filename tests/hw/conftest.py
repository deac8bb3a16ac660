def pytest_configure(config):
    # A component whose constructor refuses its arguments was never going to be used.
    config.addinivalue_line("filterwarnings", "ignore::amaranth.hdl.UnusedElaboratable")

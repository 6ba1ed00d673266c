class Peer:
    def __init__(self, address, scheme, credentials=None, certificate=None):
        self.address=address; self.scheme=scheme; self.credentials=credentials; self.certificate=certificate
    def __str__(self): return str(self.address)
class Identity:
    def __init__(self, name, **attributes): self.name=name; self.attributes=attributes

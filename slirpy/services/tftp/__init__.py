"""The TFTP server of the virtual network."""

from slirpy.services.tftp.server import TftpService

__all__ = ["TftpService"]

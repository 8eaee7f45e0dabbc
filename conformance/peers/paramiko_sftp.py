"""paramiko's SFTP server over a folder, on a free loopback port, which is printed.

    paramiko_sftp.py FOLDER HOST_KEY USER PASSWORD

What paramiko leaves to its users is the way to the files; this is the usual one, with no checks.
"""

import os
import socket
import sys
import threading

import paramiko


class Login(paramiko.ServerInterface):
    def check_auth_password(self, username, password):
        is_right = (username, password) == (sys.argv[3], sys.argv[4])
        return paramiko.AUTH_SUCCESSFUL if is_right else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username):
        return "password"

    def check_channel_request(self, kind, channel_id):
        return paramiko.OPEN_SUCCEEDED


def answer(call, *args):
    """The status of a call that gives nothing."""
    try:
        call(*args)
    except OSError as error:
        return paramiko.SFTPServer.convert_errno(error.errno)
    return paramiko.SFTP_OK


class Handle(paramiko.SFTPHandle):
    def stat(self):
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))

    def chattr(self, attributes):
        # Its own way to a size opens the file anew, which would close ours.
        if attributes._flags & attributes.FLAG_SIZE:
            os.ftruncate(self.readfile.fileno(), attributes.st_size)
            attributes._flags &= ~attributes.FLAG_SIZE
        return answer(paramiko.SFTPServer.set_file_attr, self.readfile.fileno(), attributes)


class Files(paramiko.SFTPServerInterface):
    @staticmethod
    def at(path):
        return os.path.join(sys.argv[1], path)

    def list_folder(self, path):
        folder = self.at(path)
        try:
            names = os.listdir(folder)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        found = []
        for name in names:
            attributes = paramiko.SFTPAttributes.from_stat(os.lstat(os.path.join(folder, name)))
            attributes.filename = name
            found.append(attributes)
        return found

    def look(self, call, path):
        try:
            return paramiko.SFTPAttributes.from_stat(call(self.at(path)))
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    def stat(self, path):
        return self.look(os.stat, path)

    def lstat(self, path):
        return self.look(os.lstat, path)

    def open(self, path, flags, attributes):
        try:
            descriptor = os.open(self.at(path), flags, attributes.st_mode or 0o666)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        mode = "r+b" if flags & os.O_RDWR else "wb" if flags & os.O_WRONLY else "rb"
        handle = Handle(flags)
        handle.readfile = handle.writefile = os.fdopen(descriptor, mode)
        return handle

    def remove(self, path):
        return answer(os.remove, self.at(path))

    def rename(self, old, new):
        if os.path.lexists(self.at(new)):
            return paramiko.SFTP_FAILURE
        return answer(os.rename, self.at(old), self.at(new))

    def posix_rename(self, old, new):
        return answer(os.replace, self.at(old), self.at(new))

    def mkdir(self, path, attributes):
        return answer(os.mkdir, self.at(path))

    def rmdir(self, path):
        return answer(os.rmdir, self.at(path))

    def chattr(self, path, attributes):
        return answer(paramiko.SFTPServer.set_file_attr, self.at(path), attributes)

    def symlink(self, target, path):
        return answer(os.symlink, target, self.at(path))

    def readlink(self, path):
        try:
            return os.readlink(self.at(path))
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    def canonicalize(self, path):
        return os.path.realpath(self.at(path))


def serve(connection):
    transport = paramiko.Transport(connection)
    transport.add_server_key(paramiko.Ed25519Key(filename=sys.argv[2]))
    transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
    transport.start_server(server=Login())


listener = socket.create_server(("127.0.0.1", 0))
print("listening on port", listener.getsockname()[1], file=sys.stderr, flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

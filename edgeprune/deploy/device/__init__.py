"""The device's end of a deployment: standard library only, sent as source and gone with the connection.

The device's own Python runs it before anything else of ours is there. Everything lies in one folder:

inbox/          files named by their sha256, `.part` while they arrive; emptied when a deployment is done
environments/   virtual environments; one is whole once the file `whole` stands in it, and is built anew otherwise
bundles/ data/  what was deployed, put together aside and renamed
jobs/           commands that run on without a connection: out, err, and code once they ended
"""

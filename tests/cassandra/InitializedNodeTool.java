/**
 * nodetool of Cassandra 3.11 on Java 17: its first step, writing the history file, fails to set up memory unmapping,
 * and reporting that failure needs a configuration which the tool never loads. With an empty one it goes on.
 */
public class InitializedNodeTool
{
    public static void main(String[] arguments)
    {
        org.apache.cassandra.config.DatabaseDescriptor.clientInitialization();
        org.apache.cassandra.tools.NodeTool.main(arguments);
    }
}
